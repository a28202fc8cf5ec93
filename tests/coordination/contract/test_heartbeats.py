"""What every Heartbeats promises."""

from __future__ import annotations

import threading

import pytest

from mqtasks.coordination.base import TaskBeat
from mqtasks.errors import CoordinationUnavailable
from tests.coordination.harness import beat

FULL = beat(
    "runner ü:1*?[x]",
    generation=7,
    host="host-1",
    pid=42,
    parallelism=16,
    free_slots=3,
    executors=("0000000007", "mail, urgent"),
    labels={"zone": "a", "gpu": ""},
    cpu=7.5,
    memory=2**40,
    running=13,
    started_total=10**12,
    completed_total=99,
    failed_total=1,
    version="1.2.3",
    state="draining",
)


def test_a_beat_can_be_read_by_another_process(world):
    assert world.heartbeats.beat_runners([FULL, beat("a")], 15)
    peer = world.join().heartbeats
    assert peer.runner_details() == [beat("a"), FULL]
    assert peer.runner_details(["a", "unknown"]) == [beat("a")]
    assert peer.alive_runners(["a", FULL.runner_id, "unknown"]) == {"a", FULL.runner_id}


def test_the_last_beat_wins(world):
    world.heartbeats.beat_runners([beat("a", labels={"x": "1"}, running=1)], 15)
    world.heartbeats.beat_runners([beat("a", running=2)], 15)
    assert world.heartbeats.runner_details() == [beat("a", running=2)]


def test_a_runner_that_stops_beating_expires(world):
    world.heartbeats.beat_runners([beat("a"), beat("b")], 15)
    world.age(10)
    assert world.heartbeats.alive_runners(["a", "b"]) == {"a", "b"}
    world.heartbeats.beat_runners([beat("b")], 15)
    world.age(10)
    assert world.heartbeats.alive_runners(["a", "b"]) == {"b"}
    assert world.heartbeats.runner_details() == [beat("b")]


def test_a_task_that_stops_beating_expires(world):
    world.heartbeats.beat_tasks([TaskBeat(1, "a", 1), TaskBeat(2, "a", 3)], 15)
    world.age(10)
    world.heartbeats.beat_tasks([TaskBeat(2, "a", 3)], 15)
    assert world.heartbeats.alive_tasks([1, 2, 3]) == {1, 2}
    world.age(10)
    assert world.heartbeats.alive_tasks([1, 2, 3]) == {2}


def test_more_beats_than_one_round_trip_takes(world):
    beats = [TaskBeat(n, "a", 1) for n in range(2_500)]
    assert world.heartbeats.beat_tasks(beats, 15)
    assert world.heartbeats.alive_tasks(range(3_000)) == frozenset(range(2_500))
    assert world.heartbeats.forget_tasks(range(2_499))
    assert world.heartbeats.alive_tasks(range(3_000)) == {2_499}


def test_ids_as_large_as_storage_makes_them(world):
    world.heartbeats.beat_tasks([TaskBeat(2**64 - 1, "a", 2**32 - 1)], 15)
    assert world.heartbeats.alive_tasks([2**64 - 1]) == {2**64 - 1}


def test_forgetting(world):
    world.heartbeats.beat_runners([beat("a"), beat("b")], 15)
    world.heartbeats.beat_tasks([TaskBeat(1, "a", 1)], 15)
    assert world.heartbeats.forget_runner("a")
    assert world.heartbeats.forget_runner("unknown")
    assert world.heartbeats.forget_tasks([1, 2])
    assert world.heartbeats.alive_runners(["a", "b"]) == {"b"}
    assert world.heartbeats.alive_tasks([1]) == frozenset()


def test_asking_about_nothing(world):
    assert world.heartbeats.alive_runners([]) == frozenset()
    assert world.heartbeats.alive_tasks([]) == frozenset()
    assert world.heartbeats.runner_details([]) == []
    assert world.heartbeats.beat_runners([], 15)
    assert world.heartbeats.beat_tasks([], 15)
    assert world.heartbeats.forget_tasks([])


def test_a_snapshot_replaces_the_one_before(world):
    assert world.heartbeats.stats() == {}
    assert world.heartbeats.publish_stats({"leader": "s1", "term": 3, "gone": 1}, 10)
    stats = {"leader": "s2", "term": 4, "rate:created": 12.5, "oldest": 1e-9}
    assert world.heartbeats.publish_stats(stats, 10)
    assert world.join().heartbeats.stats() == stats
    world.age(11)
    assert world.heartbeats.stats() == {}


def test_an_empty_snapshot(world):
    world.heartbeats.publish_stats({"leader": "s1"}, 10)
    assert world.heartbeats.publish_stats({}, 10)
    assert world.heartbeats.stats() == {}


def test_closed(world):
    world.heartbeats.beat_runners([beat("a")], 15)
    world.heartbeats.close()
    world.heartbeats.close()
    assert not world.heartbeats.beat_runners([beat("a")], 15)
    assert not world.heartbeats.beat_tasks([TaskBeat(1, "a", 1)], 15)
    assert not world.heartbeats.forget_runner("a")
    assert not world.heartbeats.forget_tasks([1])
    assert not world.heartbeats.publish_stats({"a": 1}, 10)
    assert world.heartbeats.alive_runners(["a"]) is None
    assert world.heartbeats.alive_tasks([1]) is None
    assert world.heartbeats.continuity() == 0.0
    with pytest.raises(CoordinationUnavailable):
        world.heartbeats.runner_details()
    with pytest.raises(CoordinationUnavailable):
        world.heartbeats.stats()


def test_many_threads_may_use_one_object(world):
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(20):
                runner_id = f"r{number}"
                assert world.heartbeats.beat_runners([beat(runner_id)], 15)
                assert world.heartbeats.beat_tasks([TaskBeat(number, runner_id, 1)], 15)
                assert world.heartbeats.alive_runners([runner_id]) == {runner_id}
                assert world.heartbeats.alive_tasks([number]) == {number}
                assert world.heartbeats.continuity() >= 0.0
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(40)
    assert failures == []
    assert len(world.heartbeats.runner_details()) == 6
