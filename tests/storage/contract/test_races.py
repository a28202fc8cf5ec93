"""Threads on two connections that want opposite things at the same moment (P4, P6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mqtasks.errors import NotLeader
from mqtasks.model import SUCCESS, NewTask, RunnerState, TaskEpoch, TaskMetadata, TaskStatus
from mqtasks.storage.contract import Allocation, Completion, ExecutorLimit, Renewal
from tests.support.races import race, together
from tests.support.stage import MAX_CRASHES

RUNNERS = 100
ROUNDS = 100
"""10,000 races: 100 runners, each in 100 rounds."""


def opposed(
    first: Callable[[int], Callable[[], Any]], second: Callable[[int], Callable[[], Any]]
) -> list[tuple[Any, Any]]:
    """Race two calls for each runner; return both answers. The threads swap roles each time."""
    left, right = [], []
    for n in range(RUNNERS):
        pair = (first(n), second(n)) if n % 2 else (second(n), first(n))
        left.append(pair[0])
        right.append(pair[1])
    answers = zip(*race([left, right]), strict=True)
    return [pair if n % 2 else pair[::-1] for n, pair in enumerate(answers)]


@pytest.mark.timeout(180)
def test_p4_renewal_races_rescue(stage, opener):
    """10,000 times a runner renews its lapsed lease while a rescuer fences it.

    Never is a lease renewed and its task taken as well; never does neither happen.
    """
    storage, rescuer = stage.storage, opener(stage.clock)
    names = [f"runner {n}" for n in range(RUNNERS)]
    generations = dict.fromkeys(names, 0)
    ids = stage.create(*(f"task of {name}" for name in names))
    tasks = dict(zip(names, ids, strict=True))
    fenced = set(names)
    outcomes = {"renewed": 0, "fenced": 0}
    for _ in range(ROUNDS):
        for name in sorted(fenced):
            generations[name] = stage.register(name)
        stored = {item.id: item for item in storage.load([tasks[name] for name in fenced])}
        given = storage.allocate_many(
            [
                Allocation(tasks[name], stored[tasks[name]].epoch, name, generations[name])
                for name in fenced
            ]
        )
        assert given == {tasks[name] for name in fenced}
        stage.clock.advance(16)

        def renew(n: int) -> Callable[[], Any]:
            renewal = Renewal(names[n], generations[names[n]])
            return lambda: storage.renew_runners([renewal], 15_000)

        def fence(n: int) -> Callable[[], Any]:
            name = names[n]
            return lambda: rescuer.fence_lapsed(
                stage.leadership, name, generations[name], MAX_CRASHES
            )

        fenced = set()
        for name, (renewed, report) in zip(names, opposed(renew, fence), strict=True):
            if report is None:
                assert renewed == {name}
                outcomes["renewed"] += 1
            else:
                assert renewed == frozenset()
                assert report.requeued == (tasks[name],)
                outcomes["fenced"] += 1
                fenced.add(name)
        owners = {item.id: item for item in storage.load(ids)}
        for runner in storage.runners():
            task = owners[tasks[runner.id]]
            if runner.id in fenced:
                assert runner.state is RunnerState.STOPPED
                assert runner.generation == generations[runner.id] + 1
                assert (task.status, task.runner) == (TaskStatus.CREATED, "")
            else:
                assert runner.state is RunnerState.ACTIVE
                assert runner.generation == generations[runner.id]
                assert (task.status, task.runner) == (TaskStatus.RUNNING, runner.id)
    assert min(outcomes.values()) > 0
    assert sum(outcomes.values()) == RUNNERS * ROUNDS


@pytest.mark.timeout(180)
def test_p4_task_heartbeat_races_rescue(stage, opener):
    """10,000 times a runner without a row beats for its silent task while it is rescued."""
    storage, rescuer = stage.storage, opener(stage.clock)
    names = [f"foreign {n}" for n in range(RUNNERS)]
    ids = stage.create(*(f"task of {name}" for name in names))
    epochs = dict.fromkeys(ids, 0)
    free = set(ids)
    beaten = 0
    for _ in range(ROUNDS):
        given = storage.allocate_many(
            [
                Allocation(task_id, epochs[task_id], name, 0)
                for name, task_id in zip(names, ids, strict=True)
                if task_id in free
            ]
        )
        assert given == free
        for task_id in free:
            epochs[task_id] += 1
        stage.clock.advance(16)

        def beat(n: int) -> Callable[[], Any]:
            task = TaskEpoch(ids[n], epochs[ids[n]])
            return lambda: storage.heartbeat_many(names[n], [task])

        def rescue(n: int) -> Callable[[], Any]:
            return lambda: rescuer.rescue_orphans(stage.leadership, names[n], 10**6, 15_000)

        free = set()
        for task_id, (report, rescued) in zip(ids, opposed(beat, rescue), strict=True):
            if rescued.requeued:
                assert rescued.requeued == (task_id,)
                assert report.lost == (task_id,)
                free.add(task_id)
            else:
                assert report.lost == ()
        beaten += RUNNERS - len(free)
        for task in storage.load(ids):
            assert task.epoch == epochs[task.id]
            assert task.status is (TaskStatus.CREATED if task.id in free else TaskStatus.RUNNING)
    assert 0 < beaten < RUNNERS * ROUNDS


@pytest.mark.parametrize("turn", range(5))
def test_p4_completions_race_fencing(stage, opener, turn):
    """16 threads beat for and complete the tasks of a runner while it is fenced.

    Each task either ends with its result or waits again; each answer says which.
    """
    storage, rescuer = stage.storage, opener(stage.clock)
    tasks = stage.running(*(f"t{n}" for n in range(320)))
    stage.clock.advance(16)

    def finish(mine: list[TaskEpoch]) -> Callable[[], Any]:
        def work() -> set[int]:
            lost: set[int] = set()
            for item in mine:
                storage.heartbeat_many("r1", mine)
                done = Completion(item.task_id, item.epoch, SUCCESS)
                lost.update(storage.complete_many("r1", [done]).lost)
            return lost

        return work

    def fence() -> Any:
        for _ in range(turn):  # later in each turn
            rescuer.runners()
        return rescuer.fence_lapsed(stage.leadership, "r1", 1, MAX_CRASHES)

    *losses, report = together(*(finish(tasks[n::16]) for n in range(16)), fence)
    lost = set().union(*losses)
    assert set(report.requeued) == lost
    for task in storage.load([item.task_id for item in tasks]):
        expected = TaskStatus.CREATED if task.id in lost else TaskStatus.COMPLETED
        assert task.status is expected


def test_p2_an_allocation_races_a_drain(stage, opener):
    """Whatever is allocated to a runner that stops is released by it: nothing is left behind."""
    storage, scheduler = stage.storage, opener(stage.clock)
    for turn in range(100):
        generation = stage.register()
        ids = stage.create(*(f"{turn} {n}" for n in range(4)))
        wanted = [Allocation(item, 0, "r1", generation) for item in ids]

        def drain(generation: int = generation) -> Any:
            storage.set_runner_state("r1", generation, RunnerState.DRAINING)
            return storage.release_unstarted("r1", generation, "drain")

        def allocate(wanted: list[Allocation] = wanted) -> Any:
            return scheduler.allocate_many(wanted, stage.leadership)

        released, given = together(drain, allocate)
        assert released == len(given)
        assert storage.owned("r1", generation) == []


def test_p6_one_of_many_contenders_gets_each_term(opener, clock):
    storages = [opener(clock), opener(clock)]
    for turn in range(1, 21):
        answers = together(
            *(
                lambda n=n: storages[n % 2].acquire_lease("leader", f"holder {n}", 1000)
                for n in range(8)
            )
        )
        (winner,) = [item for item in answers if item is not None]
        assert winner.term == turn
        assert storages[0].lease("leader").holder == winner.holder
        clock.advance(1)


def test_p6_schedulers_forced_to_lead_at_once_never_exceed_a_limit(stage, opener):
    """Two that take the lead from each other allocate under a limit of five."""
    storages = [stage.storage, opener(stage.clock)]
    stage.register()
    stage.storage.create_tasks([NewTask(TaskMetadata(f"t{n}", "work")) for n in range(400)])
    (lane,) = stage.storage.lanes(0, 1)
    limits = [ExecutorLimit("work", 5)]

    def schedule(storage) -> Callable[[], Any]:
        def work() -> int:
            refused = 0
            for _ in range(60):
                leadership = storage.acquire_lease("forced", "both", 60_000)
                wanted = [
                    Allocation(item.id, item.epoch, "r1", 1) for item in storage.lane_tasks(lane, 8)
                ]
                try:
                    storage.allocate_many(wanted, leadership, limits)
                except NotLeader:
                    refused += 1
                live = storage.owned("r1", 1)
                assert len(live) <= 5
                done = [Completion(item.task_id, item.epoch, SUCCESS) for item in live[:2]]
                storage.complete_many("r1", done)
            return refused

        return work

    together(*(schedule(storage) for storage in storages))
    assert stage.storage.count_by_status(1000)[TaskStatus.COMPLETED] > 0
