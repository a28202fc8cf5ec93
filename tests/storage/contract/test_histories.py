"""M18: every allocation has a closed row in the history, or is going on, whatever became of it."""

from __future__ import annotations

import random

from mqtasks.model import (
    AttemptOutcome,
    ExecuteResult,
    ResultCode,
    RunnerState,
    TaskEpoch,
    TaskStatus,
)
from mqtasks.storage.contract import Allocation, Completion, RetryRequest
from tests.support.history import gaps
from tests.support.stage import LEASE_MS, MAX_CRASHES, row

FAILED = ExecuteResult(ResultCode.FAILED, "boom")


class Play:
    """Two runners, and something that happens to one task after the other."""

    def __init__(self, stage, seed):
        self.stage = stage
        self.storage = stage.storage
        self.random = random.Random(seed)
        self.done = set()

    def live(self, runner_id):
        generation = self.stage.generation(runner_id)
        return [TaskEpoch(o.task_id, o.epoch) for o in self.storage.owned(runner_id, generation)]

    def step(self):
        runner_id = self.random.choice(["r1", "r2"])
        self.stage.clock.advance(0.25)
        self.storage.renew_runners([], LEASE_MS)
        self.give(runner_id)
        owned = self.live(runner_id)
        if not owned:
            return
        name = self.random.choice(ACTS)
        self.done.add(name)
        getattr(self, name)(runner_id, self.random.choice(owned))

    def give(self, runner_id):
        self.storage.promote_due(10)
        lanes = self.storage.lanes(0, 10)
        waiting = [task for lane in lanes for task in self.storage.lane_tasks(lane, 4)]
        self.storage.allocate_many(
            [
                Allocation(task.id, task.epoch, runner_id, self.stage.generation(runner_id))
                for task in waiting
            ],
            self.stage.leadership,
        )

    def success(self, runner_id, task):
        done = Completion(task.task_id, task.epoch, ExecuteResult(), 1)
        self.storage.complete_many(runner_id, [done])

    def failure(self, runner_id, task):
        self.storage.complete_many(runner_id, [Completion(task.task_id, task.epoch, FAILED, 1)])

    def timeout(self, runner_id, task):
        self.retry(runner_id, task, AttemptOutcome.TIMED_OUT)

    def snooze(self, runner_id, task):
        self.retry(runner_id, task, AttemptOutcome.SNOOZED)

    def crash(self, runner_id, task):
        self.retry(runner_id, task, AttemptOutcome.CRASHED)

    def retry(self, runner_id, task, outcome=AttemptOutcome.FAILED):
        request = RetryRequest(task.task_id, task.epoch, 100, "again", "", 1, int(outcome))
        self.storage.retry_many(runner_id, [request])

    def release(self, runner_id, task):
        self.storage.release_many(runner_id, [task], "given back")

    def cancel(self, runner_id, task):
        self.storage.cancel_many([task.task_id])
        if self.random.random() < 0.5:
            self.success(runner_id, task)  # too late

    def kill(self, runner_id, task):
        generation = self.stage.generation(runner_id)
        assert self.storage.report_dead(runner_id, generation, [task], MAX_CRASHES)
        self.stage.register(runner_id, f"holder after {generation}")

    def lapse(self, runner_id, task):
        self.storage.mark_started(runner_id, [task])
        self.stage.clock.advance(LEASE_MS / 1000 + 1)
        generation = self.stage.generation(runner_id)
        self.storage.fence_lapsed(self.stage.leadership, runner_id, generation, MAX_CRASHES)
        for each in ("r1", "r2"):
            self.stage.register(each, f"holder at {self.stage.now}")

    def stop(self, runner_id, _task):
        generation = self.stage.generation(runner_id)
        self.storage.set_runner_state(runner_id, generation, RunnerState.STOPPED)
        self.storage.rescue_orphans(self.stage.leadership, runner_id, MAX_CRASHES)
        self.stage.register(runner_id, f"holder after {generation}")

    def reassign(self, runner_id, task):
        other = "r2" if runner_id == "r1" else "r1"
        generation = self.stage.generation(other)
        self.storage.allocate_many([Allocation(task.task_id, task.epoch, other, generation)])

    def deadline(self, _runner_id, _task):
        self.storage.expire_due(10)


ENDS = ("success", "failure", "timeout", "snooze", "crash", "retry", "release", "cancel")
LOSSES = ("kill", "lapse", "stop", "reassign", "deadline")
ACTS = (*ENDS, *LOSSES)


def test_m18_no_allocation_is_missing_after_anything_that_happens(stage):
    play = Play(stage, seed=1)
    stage.register("r1")
    stage.register("r2")
    for n in range(40):
        stage.create(f"t{n}", deadline=20 if n % 4 == 0 else 0)
    for n in range(120):
        play.step()
        if n % 30 == 0:  # told at once, not only in the end
            assert gaps(stage.storage) == {}
    assert gaps(stage.storage) == {}
    assert play.done == set(ACTS)
    statuses = {task.status for task in stage.everything()[0]}
    assert {TaskStatus.COMPLETED, TaskStatus.CANCELED} <= statuses


def test_the_check_sees_a_gap(stage):
    (task,) = stage.running("t")
    assert gaps(stage.storage) == {}
    stage.complete([task])
    assert gaps(stage.storage) == {}
    (other,) = stage.add(row("u", epoch=2))
    assert gaps(stage.storage) == {"u": [1, 2]}
    assert stage.status(other) is TaskStatus.CREATED
