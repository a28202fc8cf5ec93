"""Everybody at once on links: producers, a worker, two resolvers, a canceler, a pruner (S12).

Each task is executed at most once, none is forgotten, and nobody meets an error: deadlocks are the
storage's own affair. The long form runs with ``MQTASKS_TEST_LONG=1``.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading

import pytest

from mqtasks.conditions import where
from mqtasks.errors import InvalidArgument
from mqtasks.model import (
    SUCCESS,
    DependencyOutcome,
    FailurePolicy,
    RunnerRecord,
    TaskEpoch,
    TaskStatus,
)
from mqtasks.storage.contract import Allocation, Completion
from tests.support.backends import MAKERS, SQL_BACKENDS
from tests.support.links import linked, resolve
from tests.support.races import PATIENCE
from tests.support.stage import FAILURE

PLANS = 1500 if os.environ.get("MQTASKS_TEST_LONG") == "1" else 40
"""Plans that each of two producers creates."""


class World:
    """One storage and those who work on it, each on a thread of its own."""

    def __init__(self, open_storage):
        self._open = open_storage
        self._made = threading.Event()
        self._errors = []
        self.started = {}
        """How often each task was executed, by task id."""
        self.pruned = 0
        self.all_made = False

    def run(self):
        crew = [self.produce, self.produce, self.work, self.settle, self.settle, self.steer]
        threads = [
            threading.Thread(target=self._guarded, args=(call, number))
            for number, call in enumerate(crew)
        ]
        for thread in threads:
            thread.start()
        for thread in threads[:2]:
            thread.join(PATIENCE * 10)
        self.all_made = True
        for thread in threads:
            thread.join(PATIENCE * 10)
            assert not thread.is_alive(), "somebody hangs"
        assert self._errors == []

    def _guarded(self, call, number):
        try:
            call(self._open(), random.Random(number), number)
        except BaseException as error:
            self._errors.append(error)
            self.all_made = True
            raise

    def produce(self, storage, rng, number):
        """Create plans of five: a root, two that wait for it, and a join whatever becomes of them.

        The last one waits for the join of an earlier plan, also of the other producer's.
        """
        for plan in range(PLANS):
            name = f"{number}.{plan}"
            other = f"join {rng.randrange(2)}.{rng.randrange(plan + 1)}"
            policy = rng.choice(list(FailurePolicy))
            tasks = [
                linked(f"join {name}", f"a {name}", f"b {name}", on_failure=FailurePolicy.RUN),
                linked(f"root {name}"),
                linked(f"a {name}", f"root {name}", on_failure=policy),
                linked(f"b {name}", f"root {name}"),
                linked(f"last {name}", f"join {name}", on_failure=policy),
            ]
            storage.create_tasks(tasks)
            with contextlib.suppress(InvalidArgument):  # it is not made yet, or pruned already
                storage.create_tasks([linked(f"late {name}", other, on_failure=policy)])
            self._made.set()

    def work(self, storage, rng, number):
        generation = storage.register_runner(RunnerRecord(id="r1", holder="h"), 600_000, 3)
        idle = 0
        while idle < 3:
            found = [task for lane in storage.lanes(0, 10) for task in storage.lane_tasks(lane, 50)]
            given = storage.allocate_many(
                [Allocation(task.id, task.epoch, "r1", generation) for task in found]
            )
            for task_id in given:
                self.started[task_id] = self.started.get(task_id, 0) + 1
            epochs = {task.id: task.epoch + 1 for task in found}
            storage.mark_started("r1", [TaskEpoch(task_id, epochs[task_id]) for task_id in given])
            storage.complete_many(
                "r1",
                [
                    Completion(task_id, epochs[task_id], rng.choice([SUCCESS, SUCCESS, FAILURE]))
                    for task_id in sorted(given)
                ],
            )
            # Whoever waits now may be released by a pass that is under way: look again.
            idle = 0 if found or not self.all_made or resolve(storage).waiting else idle + 1

    def settle(self, storage, rng, number):
        assert self._made.wait(PATIENCE)
        while resolve(storage, rng.choice([3, 50, 500])).waiting or not self.all_made:
            pass

    def steer(self, storage, rng, number):
        """Cancel tasks that wait; delete some that have ended and nobody needs."""
        while not (self.all_made and self.pruned):
            waiting = storage.query(where.status == TaskStatus.WAITING, where.limit(20))
            storage.cancel_many([task.id for task in waiting if rng.random() < 0.2])
            self.pruned += storage.prune(rng.randrange(1 + PLANS * 5), 20, 0, 0).deleted


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SQL_BACKENDS)
def test_s12_under_everybody_at_once_each_task_runs_once_and_none_is_forgotten(name, request):
    backend = MAKERS[name](request)
    opened = []

    def open_storage():
        opened.append(backend.open(None))
        return opened[-1]

    storage = open_storage()
    try:
        world = World(open_storage)
        world.run()
        assert not resolve(storage).waiting
        tasks = {task.id: task for task in storage.query()}
        assert world.pruned
        assert len(world.started) > PLANS * 2
        assert max(world.started.values()) == 1
        for task in tasks.values():
            assert task.status.is_final, task
            assert (task.id in world.started) == (task.epoch == 1), task
            for link in storage.dependencies(task.id):
                judge(task, link, tasks.get(link.parent_id))
    finally:
        for one in opened:
            one.close()


def judge(task, link, parent):
    """Demand that a link says what became of the parent, and that the child acted on it."""
    assert link.outcome is not DependencyOutcome.MISSING, "nobody who is waited for is pruned"
    if link.outcome is DependencyOutcome.DROPPED:
        assert task.epoch == 0
        return
    if link.outcome is not DependencyOutcome.SUCCEEDED and link.policy is not FailurePolicy.RUN:
        assert task.epoch == 0, "its policy said that it does not run"
    if parent is None:
        return
    result = parent.execute_result
    expected = {
        DependencyOutcome.CANCELED: parent.status is TaskStatus.CANCELED,
        DependencyOutcome.SUCCEEDED: result == SUCCESS,
        DependencyOutcome.FAILED: parent.status is TaskStatus.COMPLETED and result != SUCCESS,
    }
    assert expected[link.outcome], (link, parent)
    if task.epoch:
        assert parent.completed_at <= task.started_at + 1
