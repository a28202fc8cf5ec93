"""What tasks reserve of a runner is counted in the transaction that allocates (M13, P6)."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest

from mqtasks.errors import NotLeader
from mqtasks.model import SUCCESS, RunnerRecord, TaskEpoch, TaskStatus
from mqtasks.storage.contract import Allocation, Completion, ExecutorLimit, RunnerLimit
from tests.support.races import together
from tests.support.stage import LEASE_MS, Stage, new

BOX = RunnerLimit("r1", cpu=1.0, memory=100, resources={"gpu": 2.0})


def give(stage: Stage, ids, *limits, runner_id: str = "r1") -> frozenset[int]:
    tasks = stage.storage.load(list(ids))
    batch = [
        Allocation(item.id, item.epoch, runner_id, stage.generation(runner_id)) for item in tasks
    ]
    return stage.storage.allocate_many(batch, stage.leadership, limits)


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"cpu": 0.1}, 10),
        ({"cpu": 0.6}, 1),
        ({"memory": 34}, 2),
        ({"resources": {"gpu": 1}}, 2),
        ({"resources": {"gpu": 0.5, "licence": 1}}, 0),
        ({"cpu": 0.25, "memory": 50}, 2),
        ({}, 12),
    ],
    ids=["tenths of a core", "cpu", "memory", "resource", "not offered", "two", "nothing"],
)
def test_m13_no_more_is_given_than_fits(stage, options, most):
    stage.register()
    ids = stage.create(*(f"t{n}" for n in range(12)), **options)
    assert give(stage, ids, BOX) == set(ids[:most])
    assert give(stage, ids[most:], BOX) == frozenset()
    if 0 < most < 12:
        stage.complete([TaskEpoch(ids[0], 1)])
        assert give(stage, ids[most:], BOX) == {ids[most]}


def test_m13_a_runner_is_judged_by_what_it_owns_itself(stage):
    stage.register("r1")
    stage.register("r2")
    a, b, c, d = stage.create("a", "b", "c", "d", memory=80)
    offers = [RunnerLimit("r1", memory=100), RunnerLimit("r2", memory=170)]
    assert give(stage, [a, b], *offers) == {a}
    assert give(stage, [b, c, d], *offers, runner_id="r2") == {b, c}


def test_m13_a_task_to_be_canceled_still_holds_what_it_reserves(stage):
    stage.register()
    first, second = stage.create("a", "b", cpu=1.0)
    assert give(stage, [first, second], BOX) == {first}
    stage.storage.cancel_many([first])
    assert give(stage, [second], BOX) == frozenset()
    stage.complete([TaskEpoch(first, 1)])
    assert stage.status(first) is TaskStatus.CANCELED
    assert give(stage, [second], BOX) == {second}


def test_m13_what_another_limit_drops_reserves_nothing(stage):
    stage.register()
    (blocked,) = stage.create("blocked", executor="other", cpu=1.0)
    (fits,) = stage.create("fits", cpu=1.0)
    assert give(stage, [blocked, fits], ExecutorLimit("other", 0), BOX) == {fits}


def test_m13_a_live_task_given_away_by_hand_needs_room_where_it_goes(stage):
    stage.register("r1")
    stage.register("r2")
    first, second = stage.create("a", "b", cpu=1.0)
    give(stage, [first], BOX)
    give(stage, [second], RunnerLimit("r2", cpu=1.0), runner_id="r2")
    move = [Allocation(first, 1, "r2", 1)]
    assert not stage.storage.allocate_many(move, None, [RunnerLimit("r2", cpu=1.5)])
    assert stage.storage.allocate_many(move, None, [RunnerLimit("r2", cpu=2.0)]) == {first}


def test_m13_p6_forced_leaders_never_reserve_more_than_a_runner_offers(stage, opener):
    """Two that take the lead from each other, mixed demands, a runner that dies again and again."""
    storages = [stage.storage, opener(stage.clock)]
    known = [stage.register()]
    wants: list[dict[str, Any]] = [
        {"cpu": 0.3},
        {"memory": 40},
        {"resources": {"gpu": 1.0}},
        {"cpu": 0.1, "memory": 10},
    ]
    stage.storage.create_tasks([new(f"t{n}", **wants[n % 4]) for n in range(240)])
    lanes = stage.storage.lanes(0, 10)
    record = RunnerRecord(id="r1", holder="its holder")
    fullest = [0.0, 0.0, 0.0]

    def reserved(storage) -> list[float]:
        """One statement: a moment that has been, not two halves of different ones."""
        live = storage.live_load()
        signature = {
            item.lane: item.signature for item in storage.lane_signatures([x.lane for x in live])
        }
        sums = [0.0, 0.0, 0.0]
        for load in live:
            if load.lane in signature:
                wanted = signature[load.lane]
                sums[0] += wanted.cpu * load.count
                sums[1] += wanted.memory * load.count
                sums[2] += dict(wanted.resources).get("gpu", 0.0) * load.count
        return sums

    def schedule(storage, seed: int) -> Callable[[], int]:
        chance = random.Random(seed)

        def work() -> int:
            done = 0
            for turn in range(40):
                leadership = storage.acquire_lease("forced", "both", 60_000)
                wanted = [
                    Allocation(item.id, item.epoch, "r1", known[-1])
                    for lane in lanes
                    for item in storage.lane_tasks(lane, 4)
                ]
                chance.shuffle(wanted)
                with contextlib.suppress(NotLeader):
                    storage.allocate_many(wanted, leadership, [BOX])
                sums = reserved(storage)
                assert sums[0] <= BOX.cpu + 1e-6
                assert sums[1] <= BOX.memory
                assert sums[2] <= BOX.resources["gpu"] + 1e-6
                fullest[:] = map(max, fullest, sums)
                if turn % 9 == 5:
                    known.append(storage.register_runner(record, LEASE_MS, 1000))
                ended = storage.owned("r1", known[-1])[:3]
                storage.complete_many(
                    "r1", [Completion(item.task_id, item.epoch, SUCCESS) for item in ended]
                )
                done += len(ended)
            return done

        return work

    assert sum(together(*(schedule(item, seed) for seed, item in enumerate(storages))))
    assert fullest[0] > BOX.cpu - 0.3
    assert fullest[1] > BOX.memory - 40
    assert fullest[2] == BOX.resources["gpu"]
