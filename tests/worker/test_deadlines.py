"""A deadline over all attempts, at the runner: before, between and during them."""

from __future__ import annotations

import pytest

from mqtasks.errors import Retry, Snooze, TaskInterrupted
from mqtasks.model import AttemptOutcome, ResultCode, TaskStatus
from mqtasks.worker.held import Cancel
from tests.worker.rig import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig(heartbeat_interval=300.0, heartbeat_timeout=3600.0)


def only_attempt(rig, task_id):
    (attempt,) = rig.storage.attempts(task_id)
    return attempt


def failed(rig, task_id):
    task = rig.task(task_id)
    assert task.status is TaskStatus.COMPLETED
    assert task.execute_result.code is ResultCode.FAILED
    return task.execute_result.error


def test_a_task_that_comes_too_late_is_ended_without_running(rig):
    (task_id,) = rig.create(1, deadline=5.0, max_retry_times=3)
    rig.allocate(task_id)
    rig.clock.advance(5)
    rig.fetch()
    rig.commit()
    assert "passed before it started" in failed(rig, task_id)
    assert only_attempt(rig, task_id).outcome == AttemptOutcome.TIMED_OUT
    assert (rig.calls, len(rig.hand.submitted)) == ([], 0)


def test_one_that_waits_for_a_slot_is_ended_when_its_deadline_is_over(rig):
    busy = rig.give(2)
    (task_id,) = rig.give(1, deadline=5.0)
    (other,) = rig.give(1)
    assert rig.waiting() == [task_id, other]
    assert rig.parts.watchdog.run_once() <= 5.0
    rig.clock.advance(5)
    rig.parts.watchdog.run_once()
    rig.commit()
    assert "passed before it started" in failed(rig, task_id)
    assert rig.waiting() == [other]
    for _ in busy:
        rig.run_next()
    assert sorted(rig.calls) == [*busy, other]


def test_one_that_has_a_slot_and_no_thread_yet_is_ended_at_the_last_moment(rig):
    (task_id,) = rig.give(1, deadline=5.0)
    rig.clock.advance(5)  # the watchdog has not come round yet
    rig.run_next()
    rig.commit()
    assert "passed before it started" in failed(rig, task_id)
    assert rig.calls == []


def test_a_running_task_is_cancelled_and_does_not_run_again(rig):
    def act(ctx, _task):
        assert ctx.remaining() == 5.0
        rig.clock.advance(5)
        rig.parts.watchdog.run_once()
        assert ctx.cancel_reason == Cancel.DEADLINE == "deadline"
        with pytest.raises(TaskInterrupted, match="deadline"):
            ctx.check()

    rig.act = act
    (task_id,) = rig.give(1, deadline=5.0, timeout=60.0, max_retry_times=9)
    rig.run_next()
    rig.commit()
    assert "passed while it ran" in failed(rig, task_id)
    assert only_attempt(rig, task_id).outcome == AttemptOutcome.TIMED_OUT


def test_the_shorter_of_timeout_and_deadline_counts(rig):
    seen = []

    def act(ctx, _task):
        seen.append(ctx.remaining())
        rig.clock.advance(2)
        rig.parts.watchdog.run_once()
        assert ctx.cancel_reason == Cancel.TIMEOUT

    rig.act = act
    (task_id,) = rig.give(1, deadline=60.0, timeout=2.0, max_retry_times=9)
    rig.run_next()
    rig.commit()
    assert seen == [2.0]
    assert rig.task(task_id).status is TaskStatus.SCHEDULED  # a timeout is tried again


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OSError("away"), AttemptOutcome.FAILED),
        (Retry("later", after=10), AttemptOutcome.FAILED),
        (Snooze(10), AttemptOutcome.TIMED_OUT),
    ],
)
def test_a_next_run_beyond_the_deadline_fails_now(rig, error, outcome):
    def act(_ctx, _task):
        raise error

    rig.act = act
    options = {"max_retry_times": 9, "retry_interval": 10.0, "jitter": 0.0}
    (task_id,) = rig.give(1, deadline=10.0, **options)
    (other,) = rig.give(1, deadline=10.1, **options)
    rig.run_next()
    rig.run_next()
    rig.commit()
    assert "its next run would be after its deadline of" in failed(rig, task_id)
    assert only_attempt(rig, task_id).outcome == outcome
    assert rig.task(other).status is TaskStatus.SCHEDULED


def test_a_deadline_counts_from_creation_by_the_databases_clock(rig):
    (task_id,) = rig.create(1, deadline=60.0)
    rig.clock.advance(45)
    rig.allocate(task_id)
    rig.fetch()
    seen = []
    rig.act = lambda ctx, _task: seen.append(ctx.remaining())
    rig.run_next()
    assert seen == [15.0]


def test_a_success_at_the_last_moment_is_one(rig):
    (task_id,) = rig.give(1, deadline=5.0)
    rig.run_next()
    rig.clock.advance(60)
    rig.parts.watchdog.run_once()
    rig.commit()
    assert rig.task(task_id).execute_result.code is ResultCode.SUCCESS


def test_a_task_without_a_deadline_asks_for_no_clock(rig):
    rig.parts.admission._database_ms = pytest.fail
    (task_id,) = rig.give(1, timeout=5.0)
    rig.run_next()
    rig.commit()
    assert rig.task(task_id).execute_result.code is ResultCode.SUCCESS
