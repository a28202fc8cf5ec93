"""What each write of a worker does to its row and its history."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mqtasks.errors import InvalidArgument
from mqtasks.model import Attempt, AttemptOutcome, ExecuteResult, ResultCode, TaskStatus
from mqtasks.storage.contract import APPLIED, Completion, RetryRequest
from tests.support.stage import FAILURE


@pytest.fixture
def task(stage):
    """A task that r1 has owned for a second."""
    (owned,) = stage.running("t1", max_retry_times=3)
    stage.clock.advance(1)
    return owned


def test_a_success_ends_the_task_with_its_value_and_leaves_no_history(stage, task):
    before = stage.task(task.task_id)
    done = ExecuteResult(value=b"\0value")
    assert stage.complete([task], done, elapsed_ms=250) == APPLIED
    assert stage.task(task.task_id) == replace(
        before,
        status=TaskStatus.COMPLETED,
        execute_result=done,
        started_at=stage.now - 250,
        completed_at=stage.now,
    )
    assert stage.storage.attempts(task.task_id) == []


def test_a_success_without_a_value_says_success(stage, task):
    stage.complete([task])
    assert stage.task(task.task_id).execute_result == ExecuteResult(ResultCode.SUCCESS, "", b"")


@pytest.mark.parametrize(
    "outcome", [AttemptOutcome.FAILED, AttemptOutcome.TIMED_OUT, AttemptOutcome.CRASHED]
)
def test_a_failure_ends_the_task_and_is_kept_in_its_history(stage, task, outcome):
    result = ExecuteResult(ResultCode.FAILED, "why", b"part")
    report = stage.complete([task], result, elapsed_ms=250, traceback="tr", outcome=int(outcome))
    assert report == APPLIED
    ended = stage.task(task.task_id)
    assert (ended.status, ended.execute_result) == (TaskStatus.COMPLETED, result)
    assert (ended.started_at, ended.completed_at) == (stage.now - 250, stage.now)
    assert (ended.runner, ended.epoch) == ("r1", 1)
    assert stage.attempt(task.task_id) == Attempt(
        task_id=task.task_id,
        epoch=1,
        runner="r1",
        outcome=int(outcome),
        started_at=stage.now - 250,
        ended_at=stage.now,
        error="why",
        traceback="tr",
    )


def test_mixed_results_of_one_batch_go_to_their_tasks(stage):
    tasks = stage.running(*(f"t{n}" for n in range(60)))
    results = [
        [ExecuteResult(), ExecuteResult(value=bytes([n])), FAILURE, ExecuteResult(value=b"same")][
            n % 4
        ]
        for n in range(60)
    ]
    report = stage.storage.complete_many(
        "r1",
        [
            Completion(item.task_id, item.epoch, result, n)
            for n, (item, result) in enumerate(zip(tasks, results, strict=True))
        ],
    )
    assert report == APPLIED
    stored = stage.storage.load([item.task_id for item in tasks])
    assert [item.execute_result for item in stored] == results
    assert [item.started_at for item in stored] == [stage.now - n for n in range(60)]
    histories = [len(stage.storage.attempts(item.task_id)) for item in tasks]
    assert histories == [int(result is FAILURE) for result in results]


def test_a_retry_is_scheduled_by_the_clock_of_the_database(stage, task):
    before = stage.task(task.task_id)
    request = RetryRequest(task.task_id, 1, 2500, "boom", "trace", 250)
    assert stage.storage.retry_many("r1", [request]) == APPLIED
    assert stage.task(task.task_id) == replace(
        before,
        status=TaskStatus.SCHEDULED,
        runner="",
        generation=0,
        attempt=1,
        run_at=stage.now + 2500,
    )
    assert stage.attempt(task.task_id) == Attempt(
        task_id=task.task_id,
        epoch=1,
        runner="r1",
        outcome=int(AttemptOutcome.FAILED),
        started_at=stage.now - 250,
        ended_at=stage.now,
        error="boom",
        traceback="trace",
    )


def test_p8_a_crash_that_the_runner_survived_counts_apart_from_attempts(stage, task):
    crash = int(AttemptOutcome.CRASHED)
    stage.storage.retry_many("r1", [RetryRequest(task.task_id, 1, 0, "died", "st", outcome=crash)])
    row = stage.task(task.task_id)
    assert (row.status, row.attempt, row.crashes) == (TaskStatus.SCHEDULED, 0, 1)
    assert stage.attempt(task.task_id).outcome == crash


def test_p8_crashes_and_failures_of_one_batch_are_told_apart(stage):
    first, second, third = stage.running("a", "b", "c")
    crash = int(AttemptOutcome.CRASHED)
    requests = [
        RetryRequest(first.task_id, 1, 0, "died", outcome=crash),
        RetryRequest(second.task_id, 1, 0, "boom"),
    ]
    stage.storage.retry_many("r1", requests)
    stage.storage.complete_many("r1", [Completion(third.task_id, 1, FAILURE, 5, "", crash)])
    rows = [stage.task(item.task_id) for item in (first, second, third)]
    assert [(row.attempt, row.crashes) for row in rows] == [(0, 1), (1, 0), (0, 1)]


def test_a_snooze_burns_neither_an_attempt_nor_a_crash(stage, task):
    snooze = int(AttemptOutcome.SNOOZED)
    request = RetryRequest(task.task_id, 1, 2500, "not yet", outcome=snooze)
    assert stage.storage.retry_many("r1", [request, request]) == APPLIED
    row = stage.task(task.task_id)
    assert (row.status, row.attempt, row.crashes) == (TaskStatus.SCHEDULED, 0, 0)
    assert row.run_at == stage.now + 2500
    assert stage.attempt(task.task_id).outcome == snooze
    assert stage.storage.retry_many("r1", [request]) == APPLIED  # the same, said again (P10)


def test_counted_and_uncounted_ends_of_one_batch_are_told_apart(stage):
    tasks = stage.running("a", "b", "c")
    outcomes = (AttemptOutcome.FAILED, AttemptOutcome.SNOOZED, AttemptOutcome.CRASHED)
    stage.storage.retry_many(
        "r1",
        [
            RetryRequest(item.task_id, 1, 0, "why", outcome=int(outcome))
            for item, outcome in zip(tasks, outcomes, strict=True)
        ],
    )
    rows = [stage.task(item.task_id) for item in tasks]
    assert [(row.attempt, row.crashes) for row in rows] == [(1, 0), (0, 0), (0, 1)]


def test_p9_an_executor_may_end_its_task_as_canceled(stage, task):
    others = stage.running("failed", "done")
    reason = ExecuteResult(ResultCode.FAILED, "sold out", b"")
    said = [
        Completion(task.task_id, 1, reason, 250, "", int(AttemptOutcome.CANCELED)),
        Completion(others[0].task_id, 1, FAILURE),
        Completion(others[1].task_id, 1, ExecuteResult()),
    ]
    for _ in range(2):  # the second time after a commit whose answer was lost (P10)
        assert stage.storage.complete_many("r1", said).canceled == (task.task_id,)
    ended = stage.task(task.task_id)
    assert (ended.status, ended.execute_result) == (TaskStatus.CANCELED, None)
    assert ended.completed_at == stage.now
    attempt = stage.attempt(task.task_id)
    assert (attempt.outcome, attempt.error) == (AttemptOutcome.CANCELED, "sold out")
    rows = [stage.task(item.task_id) for item in others]
    assert [row.status for row in rows] == [TaskStatus.COMPLETED] * 2


def test_a_retry_keeps_the_outcome_it_is_told(stage, task):
    request = RetryRequest(task.task_id, 1, 0, "late", outcome=int(AttemptOutcome.TIMED_OUT))
    stage.storage.retry_many("r1", [request])
    assert stage.attempt(task.task_id).outcome == AttemptOutcome.TIMED_OUT
    assert stage.storage.next_due_in_ms() == 0


def test_a_released_task_is_due_at_once_and_burns_no_attempt(stage, task):
    stage.storage.mark_started("r1", [task])
    before = stage.task(task.task_id)
    assert stage.storage.release_many("r1", [task], "drain") == APPLIED
    after = stage.task(task.task_id)
    assert after.run_at <= stage.now
    assert after == replace(
        before,
        status=TaskStatus.CREATED,
        runner="",
        generation=0,
        started_at=0,
        run_at=after.run_at,
    )
    assert (after.epoch, after.attempt, after.crashes, after.reassigned) == (1, 0, 0, 0)
    assert stage.attempt(task.task_id) == Attempt(
        task_id=task.task_id,
        epoch=1,
        runner="r1",
        outcome=int(AttemptOutcome.RELEASED),
        started_at=before.started_at,
        ended_at=stage.now,
        error="drain",
    )
    assert stage.allocate([task.task_id])[0].epoch == 2


def test_a_released_task_keeps_its_place_in_the_queue(stage, task):
    stage.create("younger")
    stage.storage.release_many("r1", [task], "drain")
    (lane,) = stage.storage.lanes(0, 10)
    order = [item.metadata.id for item in stage.storage.lane_tasks(lane, 10)]
    assert order == ["t1", "younger"]


def test_started_at_is_written_once_per_allocation(stage, task):
    assert stage.storage.mark_started("r1", [task]) == APPLIED
    first = stage.now
    stage.clock.advance(1)
    assert stage.storage.mark_started("r1", [task]) == APPLIED
    after = stage.task(task.task_id)
    assert (after.started_at, after.last_heartbeat) == (first, stage.now)
    stage.storage.release_many("r1", [task], "drain")
    stage.allocate([task.task_id])
    assert stage.task(task.task_id).started_at == 0


def test_a_heartbeat_writes_nothing_but_its_time(stage, task):
    before = stage.task(task.task_id)
    assert stage.storage.heartbeat_many("r1", [task]) == APPLIED
    assert stage.task(task.task_id) == replace(before, last_heartbeat=stage.now)


def test_progress_is_replaced_and_outlives_the_allocation(stage, task):
    before = stage.task(task.task_id)
    assert stage.storage.save_progress("r1", task, b"10 %") is True
    assert stage.storage.save_progress("r1", task, b"20 %") is True
    assert stage.storage.save_progress("r1", task, b"20 %") is True
    assert stage.task(task.task_id) == replace(before, progress=b"20 %")
    stage.storage.release_many("r1", [task], "drain")
    assert stage.task(task.task_id).progress == b"20 %"


def test_a_result_that_no_storage_takes_is_refused_before_anything_is_written(stage, task):
    (other,) = stage.running("t2")
    good = Completion(other.task_id, 1, ExecuteResult())
    for result in (
        ExecuteResult(code=9),  # type: ignore[arg-type]
        ExecuteResult(value="text"),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidArgument, match="execute_result"):
            stage.storage.complete_many("r1", [good, Completion(task.task_id, 1, result)])
    assert stage.status(other.task_id) is TaskStatus.RUNNING


@pytest.mark.parametrize("cancel", [False, True])
def test_a_requeued_task_starts_over_but_keeps_epoch_and_history(stage, task, cancel):
    stage.storage.retry_many("r1", [RetryRequest(task.task_id, 1, 0, "boom")])
    stage.storage.promote_due(1)
    (again,) = stage.allocate([task.task_id])
    stage.storage.mark_started("r1", [again])
    if cancel:
        stage.storage.cancel_many([task.task_id])
    stage.complete([again], FAILURE)
    before = stage.task(task.task_id)
    history = stage.storage.attempts(task.task_id)
    stage.clock.advance(5)
    assert stage.storage.requeue_many([task.task_id]) == (task.task_id,)
    assert stage.task(task.task_id) == replace(
        before,
        status=TaskStatus.CREATED,
        runner="",
        generation=0,
        attempt=0,
        run_at=stage.now,
        started_at=0,
        completed_at=0,
        execute_result=None,
    )
    assert stage.task(task.task_id).epoch == 2
    assert stage.storage.attempts(task.task_id) == history
    assert stage.storage.requeue_many([task.task_id]) == ()


def test_requeue_forgives_crashes_and_reassignments(stage):
    (task,) = stage.running("t1")
    for _ in range(MAX_TURNS):
        stage.storage.mark_started("r1", [task])
        report = stage.storage.report_dead("r1", stage.generation(), [task], 2)
        if report.failed:
            break
        stage.register()
        (task,) = stage.allocate([task.task_id])
    failed = stage.task(task.task_id)
    assert (failed.crashes, failed.reassigned, failed.epoch) == (3, 3, 3)
    stage.storage.requeue_many([task.task_id])
    again = stage.task(task.task_id)
    assert (again.crashes, again.reassigned, again.epoch) == (0, 0, 3)


MAX_TURNS = 10


def test_only_failed_and_canceled_tasks_are_requeued(stage):
    created, succeeded, failed, running, canceled, asked = stage.create(*"abcdef")
    (scheduled,) = stage.create("g", delay_duration=9)
    stage.register()
    stage.complete(stage.allocate([succeeded]))
    stage.complete(stage.allocate([failed]), FAILURE)
    stage.allocate([running, asked])
    stage.storage.cancel_many([canceled, asked])
    everything = [asked, canceled, running, failed, succeeded, created, scheduled]
    requeued = stage.storage.requeue_many([*everything, failed, scheduled + 1000])
    assert sorted(requeued) == sorted([failed, canceled])
    assert stage.status(succeeded) is TaskStatus.COMPLETED
