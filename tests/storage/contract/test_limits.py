"""Limits of keys, rates, and named resources, on every storage (S2, S3, P6)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from mqtasks.errors import NotLeader
from mqtasks.model import SUCCESS, RateLimit, RunnerRecord, TaskEpoch, TaskStatus, lane_of
from mqtasks.storage.contract import (
    Allocation,
    Completion,
    ExecutorLimit,
    KeyLimit,
    RateRule,
    executor_bucket,
    key_bucket,
)
from tests.support.races import together
from tests.support.stage import LEASE_MS, Stage, new


def give(stage: Stage, ids, *limits, epoch: int = 0) -> frozenset[int]:
    batch = [Allocation(item, epoch, "r1", stage.generation()) for item in ids]
    return stage.storage.allocate_many(batch, stage.leadership, limits)


def test_s2_a_key_is_counted_over_executors_and_runners(stage):
    stage.register()
    keyed = {"concurrency_key": "customer 7"}
    ids = [
        *stage.create("a1", "a2", executor="a", **keyed),
        *stage.create("b1", "b2", executor=7, **keyed),
    ]
    others = stage.create("c1", "c2", concurrency_key="customer 8")
    free = stage.create("d1")
    limits = [KeyLimit("customer 7", 3), KeyLimit("customer 8", 1)]
    given = give(stage, [*ids, *others, *free], *limits)
    assert given == {*ids[:3], others[0], *free}
    assert give(stage, [ids[3], others[1]], *limits) == frozenset()
    stage.complete([TaskEpoch(ids[0], 1)])
    assert give(stage, [ids[3], others[1]], *limits) == {ids[3]}


def test_s2_the_lower_of_two_limits_holds_and_what_is_refused_takes_no_room(stage):
    stage.register()
    first, second, third = stage.create("a", "b", "c", concurrency_key="k")
    limits = [KeyLimit("k", 5), KeyLimit("k", 1), ExecutorLimit("work", 2)]
    batch = [Allocation(first, 9, "r1", 1), *(Allocation(i, 0, "r1", 1) for i in (second, third))]
    assert stage.storage.allocate_many(batch, stage.leadership, limits) == {second}


def test_s2_a_rescued_task_gives_its_place_back_at_once(stage):
    """No semaphore that must expire: the row is the place."""
    stage.register()
    first, second = stage.create("a", "b", concurrency_key="k")
    assert give(stage, [first], KeyLimit("k", 1)) == {first}
    assert give(stage, [second], KeyLimit("k", 1)) == frozenset()
    stage.register()  # the runner comes back after a crash: its tasks are rescued
    assert give(stage, [second], KeyLimit("k", 1)) == {second}
    assert give(stage, [first], KeyLimit("k", 1), epoch=1) == frozenset()


@pytest.mark.parametrize("limit", [1, 5])
@pytest.mark.parametrize("kind", ["key", "executor"])
def test_s2_p6_forced_leaders_never_exceed_a_limit_while_runners_are_lost(
    stage, opener, kind, limit
):
    """Two that take the lead from each other, and a runner that dies again and again."""
    storages = [stage.storage, opener(stage.clock)]
    generation = stage.register()
    options: dict[str, Any] = {"concurrency_key": "k"} if kind == "key" else {}
    stage.storage.create_tasks([new(f"t{n}", **options) for n in range(200)])
    limits = [KeyLimit("k", limit) if kind == "key" else ExecutorLimit("work", limit)]
    lane = lane_of(new("x", **options).metadata)
    record = RunnerRecord(id="r1", holder="its holder")
    known = [generation]

    def schedule(storage) -> Callable[[], Any]:
        def work() -> int:
            most = 0
            for turn in range(40):
                leadership = storage.acquire_lease("forced", "both", 60_000)
                wanted = [
                    Allocation(item.id, item.epoch, "r1", known[-1])
                    for item in storage.lane_tasks(lane, 8)
                ]
                with contextlib.suppress(NotLeader):
                    storage.allocate_many(wanted, leadership, limits)
                live = sum(load.count for load in storage.live_load())
                assert live <= limit
                most = max(most, live)
                if turn % 7 == 3:
                    known.append(storage.register_runner(record, LEASE_MS, 1000))
                done = storage.owned("r1", known[-1])[:2]
                storage.complete_many(
                    "r1", [Completion(item.task_id, item.epoch, SUCCESS) for item in done]
                )
            return most

        return work

    reached = together(*(schedule(storage) for storage in storages))
    assert max(reached) == limit
    assert stage.storage.count_by_status(1000)[TaskStatus.COMPLETED] > 0


@pytest.mark.parametrize("bucket", ["executor:work", "key:k"])
def test_s3_forced_leaders_share_one_bucket(stage, opener, bucket):
    """In any window of one second, no more than limit + burst are given away."""
    storages = [stage.storage, opener(stage.clock)]
    stage.register()
    rate = RateLimit(10, burst=4)
    waiting = stage.create(*(f"t{n}" for n in range(120)), concurrency_key="k")
    given_at: list[int] = []
    for turn in range(60):
        stage.clock.advance(0.037)
        storage = storages[turn % 2]
        leadership = storage.acquire_lease("forced", "both", 10_000)
        batch = [Allocation(item, 0, "r1", 1) for item in waiting[:6]]
        given = storage.allocate_many(batch, leadership, [RateRule(bucket, rate)])
        waiting = [item for item in waiting if item not in given]
        given_at += [stage.now] * len(given)
    for start in given_at:
        assert sum(start <= at < start + 1000 for at in given_at) <= 10 + 4
    seconds = 60 * 0.037
    assert rate.capacity + 10 * (seconds - 0.2) <= len(given_at) <= rate.capacity + 10 * seconds


def test_s3_what_is_dropped_burns_no_token(stage):
    stage.register()
    first, second, third = stage.create("a", "b", "c", concurrency_key="k")
    rules = [RateRule(executor_bucket("work"), RateLimit(1, 60.0)), KeyLimit("k", 1)]
    refused = [Allocation(first, 7, "r1", 1), Allocation(second, 0, "gone", 1)]
    assert stage.storage.allocate_many(refused, stage.leadership, rules) == frozenset()
    assert stage.storage.rate_buckets(["executor:work"]) == {}
    assert give(stage, [third], KeyLimit("k", 0), *rules) == frozenset()
    assert stage.storage.rate_buckets(["executor:work"]) == {}
    assert give(stage, [third], *rules) == {third}
    assert stage.storage.rate_buckets(["executor:work", "key:k"]) == {
        "executor:work": (stage.now + 60_000) * 1000
    }


def test_s3_a_token_comes_by_the_database_clock(stage):
    stage.register()
    ids = stage.create("a", "b", "c", concurrency_key="k")
    rule = RateRule(key_bucket("k"), RateLimit(1, 3.0))
    assert give(stage, ids, rule) == {ids[0]}
    stage.clock.advance(2.999)
    assert give(stage, ids[1:], rule) == frozenset()
    stage.clock.advance(0.002)
    assert give(stage, ids[1:], rule) == {ids[1]}


def test_m13_a_runner_offers_named_resources(stage):
    offered = {"gpu": 2.0, "licence": 0.5}
    stage.register(resources=offered)
    assert stage.storage.runners()[0].resources == offered
    stage.register(resources={})
    assert stage.storage.runners()[0].resources == {}
