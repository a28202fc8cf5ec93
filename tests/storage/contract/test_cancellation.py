"""Cancellation: asked for by anybody, ended by the owner or its rescue (P9)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mqtasks.model import (
    Attempt,
    AttemptOutcome,
    ExecuteResult,
    ResultCode,
    RunnerState,
    TaskEpoch,
    TaskStatus,
)
from mqtasks.storage.contract import (
    Allocation,
    CancelReport,
    Completion,
    LaneLoad,
    Owned,
    RetryRequest,
    WriteReport,
)
from tests.support.stage import FAILURE, LEASE_MS, MAX_CRASHES


@pytest.fixture
def asked(stage):
    """A task of r1 that was started, and then asked to cancel."""
    (task,) = stage.running("t1")
    stage.storage.mark_started("r1", [task])
    stage.clock.advance(1)
    assert stage.storage.cancel_many([task.task_id]).requested == ((task.task_id, "r1"),)
    stage.clock.advance(1)
    return task


def test_p9_waiting_tasks_are_canceled_at_once(stage):
    (created,) = stage.create("created")
    (scheduled,) = stage.create("scheduled", delay_duration=60)
    before = stage.storage.load([created, scheduled])
    stage.clock.advance(1)
    report = stage.storage.cancel_many([scheduled, created])
    assert sorted(report.canceled) == sorted([created, scheduled])
    assert (report.requested, report.ignored) == ((), ())
    assert stage.storage.load([created, scheduled]) == [
        replace(item, status=TaskStatus.CANCELED, completed_at=stage.now) for item in before
    ]
    assert stage.storage.attempts(created) == []
    assert stage.storage.next_due_in_ms() is None
    assert stage.storage.lanes(0, 10) == []


def test_p9_a_running_task_is_asked_and_its_runner_named(stage):
    (task,) = stage.running("t1")
    before = stage.task(task.task_id)
    report = stage.storage.cancel_many([task.task_id])
    assert report == CancelReport(requested=((task.task_id, "r1"),))
    assert stage.task(task.task_id) == replace(before, status=TaskStatus.CANCEL_REQUESTED)
    assert stage.storage.cancel_many([task.task_id]) == report
    assert stage.task(task.task_id) == replace(before, status=TaskStatus.CANCEL_REQUESTED)


def test_what_has_ended_or_is_not_stored_is_ignored(stage):
    done, failed, canceled = stage.running("a", "b", "c")
    stage.complete([done])
    stage.complete([failed], FAILURE)
    stage.storage.cancel_many([canceled.task_id])
    stage.complete([canceled])
    before = stage.everything()
    ids = [done.task_id, failed.task_id, canceled.task_id, canceled.task_id + 1000]
    report = stage.storage.cancel_many(ids)
    assert sorted(report.ignored) == ids
    assert (report.canceled, report.requested) == ((), ())
    assert stage.everything() == before
    assert stage.storage.cancel_many([]) == CancelReport()


def test_one_cancellation_may_name_tasks_of_every_state_and_twice(stage):
    running, ended = stage.running("a", "b")
    stage.complete([ended])
    (created,) = stage.create("c")
    ids = [created, running.task_id, ended.task_id]
    report = stage.storage.cancel_many([*ids, *ids])
    assert report == CancelReport((created,), ((running.task_id, "r1"),), (ended.task_id,))


def test_p9_a_late_success_ends_as_canceled_and_is_kept_in_the_history(stage, asked):
    before = stage.task(asked.task_id)
    report = stage.complete([asked], ExecuteResult(value=b"late"), elapsed_ms=500)
    assert report == WriteReport(canceled=(asked.task_id,))
    assert stage.task(asked.task_id) == replace(
        before, status=TaskStatus.CANCELED, completed_at=stage.now
    )
    assert stage.attempt(asked.task_id) == Attempt(
        task_id=asked.task_id,
        epoch=1,
        runner="r1",
        outcome=int(AttemptOutcome.CANCELED),
        started_at=stage.now - 500,
        ended_at=stage.now,
    )


@pytest.mark.parametrize("ending", ["complete", "retry", "release"])
def test_p9_a_late_failure_ends_as_canceled_and_is_kept_in_the_history(stage, asked, ending):
    storage, task_id = stage.storage, asked.task_id
    if ending == "complete":
        result = ExecuteResult(ResultCode.FAILED, "boom")
        report = storage.complete_many("r1", [Completion(task_id, 1, result, 500, "trace")])
    elif ending == "retry":
        report = storage.retry_many("r1", [RetryRequest(task_id, 1, 10, "boom", "trace", 500)])
    else:
        report = storage.release_many("r1", [asked], "boom")
    assert report == WriteReport(canceled=(task_id,))
    task = stage.task(task_id)
    assert (task.status, task.completed_at, task.attempt) == (TaskStatus.CANCELED, stage.now, 0)
    assert (task.runner, task.epoch) == ("r1", 1)
    attempt = stage.attempt(task_id)
    assert (attempt.outcome, attempt.error) == (AttemptOutcome.CANCELED, "boom")
    assert attempt.traceback == ("" if ending == "release" else "trace")


def test_p9_it_stays_live_until_it_has_ended(stage, asked):
    lane = stage.task(asked.task_id).lane
    assert stage.storage.owned("r1", 1) == [Owned(asked.task_id, 1, TaskStatus.CANCEL_REQUESTED)]
    assert stage.storage.live_load() == [LaneLoad("r1", lane, 1)]
    assert [item.lane for item in stage.storage.lane_signatures([lane])] == [lane]
    stage.storage.set_runner_state("r1", 1, RunnerState.STOPPED)
    assert stage.storage.forget_runners(0) == 0
    assert [item.runner_id for item in stage.storage.orphans()] == ["r1"]


def test_p9_it_is_renewed_and_its_owner_told(stage, asked):
    told = WriteReport(canceled=(asked.task_id,))
    assert stage.storage.heartbeat_many("r1", [asked]) == told
    assert stage.task(asked.task_id).last_heartbeat == stage.now
    stage.clock.advance(1)
    assert stage.storage.mark_started("r1", [asked]) == told
    assert stage.task(asked.task_id).last_heartbeat == stage.now
    assert stage.status(asked.task_id) is TaskStatus.CANCEL_REQUESTED
    assert stage.storage.save_progress("r1", asked, b"nearly") is True


def test_p9_marking_it_started_writes_started_at(stage):
    (task,) = stage.running("t1")
    stage.storage.cancel_many([task.task_id])
    assert stage.storage.mark_started("r1", [task]).canceled == (task.task_id,)
    assert stage.task(task.task_id).started_at == stage.now


@pytest.mark.parametrize("how", ["dead", "lapsed", "restarted", "stopped", "foreign"])
def test_p9_a_dead_owner_means_canceled_never_rerun(stage, how):
    (task,) = stage.running("t1")
    stage.storage.cancel_many([task.task_id])
    stage.clock.advance(LEASE_MS / 1000 + 1)
    if how == "dead":
        report = stage.storage.report_dead("r1", 1, [task], MAX_CRASHES)
    elif how == "lapsed":
        report = stage.storage.fence_lapsed(stage.leadership, "r1", 1, MAX_CRASHES)
    elif how == "stopped":
        stage.storage.set_runner_state("r1", 1, RunnerState.STOPPED)
        report = stage.storage.rescue_orphans(stage.leadership, "r1", MAX_CRASHES)
    elif how == "foreign":
        (task,) = [TaskEpoch(stage.create("t2")[0], 1)]
        stage.storage.allocate_many([Allocation(task.task_id, 0, "foreign", 0)])
        stage.storage.cancel_many([task.task_id])
        stage.clock.advance(1)
        report = stage.storage.rescue_orphans(stage.leadership, "foreign", MAX_CRASHES)
    else:
        stage.register()
        report = None
    if report is not None:
        assert (report.requeued, report.canceled, report.failed) == ((), (task.task_id,), ())
    ended = stage.task(task.task_id)
    assert (ended.status, ended.completed_at) == (TaskStatus.CANCELED, stage.now)
    assert (ended.reassigned, ended.epoch) == (0, 1)
    outcome = AttemptOutcome.CRASHED if how == "dead" else AttemptOutcome.LOST
    assert stage.attempt(task.task_id).outcome == outcome


def test_p9_it_cannot_be_taken_by_hand(stage, asked):
    stage.register("r2")
    taken = stage.storage.allocate_many([Allocation(asked.task_id, 1, "r2", 1)])
    assert taken == frozenset()
    assert stage.task(asked.task_id).runner == "r1"
