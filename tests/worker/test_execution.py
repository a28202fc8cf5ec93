"""From what an executor does to what storage shows."""

from __future__ import annotations

import pytest

from mqtasks.errors import PayloadError, TaskInterrupted
from mqtasks.model import AttemptOutcome, ResultCode, TaskStatus
from mqtasks.worker.context import current_context
from mqtasks.worker.describe import MAX_TEXT_BYTES, capped, error_text, traceback_text
from tests.worker.rig import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


def run(rig: Rig, act, **options):
    rig.act = act
    (task_id,) = rig.give(1, **options)
    rig.run_next()
    rig.commit()
    return rig.task(task_id)


@pytest.mark.parametrize(
    ("value", "stored"),
    [(None, b""), (b"", b""), (b"raw", b"raw"), ({"a": [1]}, b'j{"a":[1]}'), ("x", b'j"x"')],
)
def test_results_are_stored_as_bytes(rig, value, stored):
    task = run(rig, lambda _ctx, _task: value)
    assert task.status is TaskStatus.COMPLETED
    assert task.execute_result.code is ResultCode.SUCCESS
    assert task.execute_result.value == stored


def raising(error):
    def act(_ctx, _task):
        raise error

    return act


def test_an_error_without_retries_fails_the_task(rig):
    task = run(rig, raising(ValueError("wrong")))
    assert task.execute_result.code is ResultCode.FAILED
    assert task.execute_result.error == "ValueError: wrong"
    (attempt,) = rig.storage.attempts(task.id)
    assert attempt.outcome == AttemptOutcome.FAILED
    assert "raise error" in attempt.traceback
    assert "executor.py" not in attempt.traceback


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_exits_in_user_code_fail_the_task_and_nothing_else(rig, error):
    task = run(rig, raising(error))
    assert task.execute_result.error.startswith(type(error).__name__)


def test_a_failed_attempt_with_a_retry_left_is_scheduled_in_storage(rig):
    task = run(rig, raising(OSError("away")), max_retry_times=2, retry_interval=10.0, jitter=0.0)
    assert task.status is TaskStatus.SCHEDULED
    assert task.attempt == 1
    assert task.run_at == rig.storage.now_ms() + 10_000
    assert task.runner == ""


def test_the_last_attempt_fails_for_good(rig):
    rig.act = raising(OSError("away"))
    (task_id,) = rig.give(1, max_retry_times=2, retry_interval=1.0)
    for _ in range(2):
        rig.run_next()
        rig.commit()
        rig.clock.advance(5)
        rig.keeper.run_once()
        rig.storage.promote_due(10)
        rig.allocate(task_id)
        rig.fetch()
        rig.parts.write_once()
    rig.run_next()
    rig.commit()
    task = rig.task(task_id)
    assert task.status is TaskStatus.COMPLETED
    assert (task.attempt, task.epoch, task.crashes) == (2, 3, 0)
    assert rig.outcomes(task_id) == [AttemptOutcome.FAILED] * 3


def test_a_result_that_cannot_be_stored_fails_the_task_for_good(rig):
    task = run(rig, lambda _ctx, _task: object(), max_retry_times=5)
    assert task.execute_result.code is ResultCode.FAILED
    assert "PayloadError" in task.execute_result.error


def test_a_result_over_the_limit_fails_the_task(rig):
    task = run(rig, lambda _ctx, _task: b"x" * (2**20 + 1))
    assert "PayloadTooLarge" in task.execute_result.error


def test_a_coroutine_from_a_plain_executor_is_an_error_with_its_remedy(rig):
    async def forgotten() -> None:
        pass

    task = run(rig, lambda _ctx, _task: forgotten())
    assert "async def" in task.execute_result.error


def test_an_executor_that_cannot_be_called_fails_with_a_traceback(rig):
    task = run(rig, lambda: None)
    assert "TypeError" in task.execute_result.error
    assert rig.storage.attempts(task.id)[0].traceback


# -- cancellation and timeouts -------------------------------------------------------------------


def cancelling(rig: Rig, reason: str, act):
    """An executor during which the task is cancelled, and which then does ``act``."""

    def whole(ctx, task):
        (held,) = [h for h in rig.parts.holdings.all() if h.task_id == task.id]
        rig.parts.canceller.cancel(held, reason)
        return act(ctx, task)

    return whole


def test_p9_an_interrupted_task_that_was_canceled_ends_canceled(rig):
    def act(ctx, task):
        rig.service.cancel(task.id)
        rig.fetch()
        assert ctx.cancelled
        assert ctx.cancel_reason == "canceled"
        ctx.check()

    task = run(rig, act)
    assert task.status is TaskStatus.CANCELED
    assert rig.outcomes(task.id) == [AttemptOutcome.CANCELED]


@pytest.mark.parametrize("late", [lambda: b"done", lambda: 1 / 0])
def test_p9_a_late_outcome_of_a_canceled_task_is_kept_in_the_history(rig, late):
    def act(_ctx, task):
        rig.service.cancel(task.id)
        return late()

    task = run(rig, act)
    assert task.status is TaskStatus.CANCELED
    assert rig.outcomes(task.id) == [AttemptOutcome.CANCELED]


def test_p9_an_error_after_the_cancellation_was_seen_is_kept_in_the_history(rig):
    def act(_ctx, task):
        rig.service.cancel(task.id)
        rig.fetch()
        raise ValueError("while cleaning up")

    task = run(rig, act, max_retry_times=5)
    assert task.status is TaskStatus.CANCELED
    assert "while cleaning up" in rig.storage.attempts(task.id)[0].error


@pytest.mark.parametrize("reason", ["shutdown", "lease lapsed"])
def test_an_interruption_burns_no_attempt(rig, reason):
    task = run(rig, cancelling(rig, reason, raising(RuntimeError("gave up"))), max_retry_times=1)
    assert task.status is TaskStatus.CREATED
    assert task.attempt == 0
    assert rig.outcomes(task.id) == [AttemptOutcome.RELEASED]


@pytest.mark.parametrize("reason", ["shutdown", "lease lapsed", "reassigned"])
def test_p14_what_was_finished_after_a_cancellation_may_still_win(rig, reason):
    task = run(rig, cancelling(rig, reason, lambda _ctx, _task: b"done"))
    assert task.status is TaskStatus.COMPLETED


@pytest.mark.parametrize("reason", ["shutdown", "lease lapsed", "reassigned"])
@pytest.mark.parametrize(
    "look",
    [
        lambda ctx: ctx.cancelled,
        lambda ctx: ctx.cancel_reason,
        lambda ctx: ctx.wait_cancelled(0),
    ],
)
def test_who_returns_after_seeing_the_cancellation_has_given_up(rig, reason, look):
    def act(ctx, _task):
        assert look(ctx)
        return b"half done"

    task = run(rig, cancelling(rig, reason, act))
    assert task.status is TaskStatus.CREATED
    assert (task.attempt, task.execute_result) == (0, None)
    assert rig.outcomes(task.id) == [AttemptOutcome.RELEASED]


@pytest.mark.parametrize(
    ("reason", "alive"),
    [
        ("lease lapsed", False),
        ("reassigned", False),
        ("shutdown", True),
        ("timeout", True),
        ("canceled", True),
    ],
)
def test_m24_a_task_is_alive_until_it_is_somebody_elses(rig, reason, alive):
    seen: list[bool] = []

    def act(ctx, _task):
        seen.append(ctx.is_alive())
        return b"done"

    run(rig, act)
    task = run(rig, cancelling(rig, reason, act))
    assert seen == [True, alive]
    if not alive:
        assert task.status is TaskStatus.COMPLETED, "asking is not giving up"


def test_a_timeout_counts_as_a_failed_attempt(rig):
    def act(ctx, _task):
        assert ctx.remaining() == 5.0
        rig.clock.advance(5)
        assert ctx.remaining() == 0.0
        rig.keeper.run_once()
        rig.parts.watchdog.run_once()
        assert ctx.cancel_reason == "timeout"
        with pytest.raises(TaskInterrupted, match="timeout"):
            ctx.check()
        return b"too late"

    task = run(rig, act, timeout=5.0, max_retry_times=1)
    assert task.status is TaskStatus.SCHEDULED
    (attempt,) = rig.storage.attempts(task.id)
    assert attempt.outcome == AttemptOutcome.TIMED_OUT
    assert attempt.error == "timed out after 5 s"


def test_a_timeout_without_retries_fails_the_task(rig):
    def act(ctx, _task):
        rig.clock.advance(5)
        rig.keeper.run_once()
        rig.parts.watchdog.run_once()
        raise OSError("socket")

    task = run(rig, act, timeout=5.0)
    assert task.execute_result.error == "timed out after 5 s; then OSError: socket"


def test_deadlines_of_ended_tasks_are_not_kept():
    rig = Rig(parallelism=1, max_wait_tasks=3000, fetch_limit=3000)
    rig.give(2500, timeout=1000.0)
    assert rig.run_next() == 2500
    assert len(rig.parts.watchdog._deadlines) < 1100


def test_a_task_cancelled_before_its_start_never_reaches_the_executor(rig):
    (task_id,) = rig.give()
    rig.parts.canceller.cancel(rig.hand.submitted[0], "shutdown")
    rig.run_next()
    rig.commit()
    assert rig.calls == []
    assert rig.task(task_id).status is TaskStatus.CREATED


# -- context ---------------------------------------------------------------------------------------


def test_the_context_names_the_execution(rig):
    def act(ctx, task):
        assert current_context() is ctx
        assert ctx.task is task
        assert (ctx.task_id, ctx.epoch, ctx.attempt, ctx.runner_id) == (task.id, 1, 0, "r")
        assert not ctx.cancelled
        assert ctx.cancel_reason == ""
        assert ctx.deadline is None
        assert ctx.remaining() is None
        assert not ctx.wait_cancelled(0)

    run(rig, act)
    with pytest.raises(Exception, match="no task"):
        current_context()


def test_the_logger_carries_the_ids(rig, caplog):
    def act(ctx, _task):
        ctx.log.warning("half %s", "way", extra={"more": 1})

    with caplog.at_level("WARNING", logger="mqtasks.worker"):
        task = run(rig, act)
    (record,) = caplog.records
    assert record.getMessage() == f"task {task.id}: half way"
    assert (record.task_id, record.epoch, record.runner, record.more) == (task.id, 1, "r", 1)


def test_progress_is_written_at_once_then_at_most_once_a_second(rig):
    seen = []

    def act(ctx, task):
        for n in range(3):
            ctx.report_progress({"n": n})
            rig.parts.write_once()
            seen.append(rig.task(task.id).progress)
        rig.clock.advance(1)
        rig.parts.write_once()
        seen.append(rig.task(task.id).progress)
        ctx.report_progress(b"last")

    task = run(rig, act)
    assert seen == [b'j{"n":0}', b'j{"n":0}', b'j{"n":0}', b'j{"n":2}']
    assert task.progress == b"last"  # written before the end is committed


def test_progress_of_a_task_that_was_taken_away_cancels_it(rig):
    def act(ctx, task):
        rig.storage.release_many("r", [ctx._held.key], "test")
        ctx.report_progress(b"x")
        rig.parts.write_once()
        assert ctx.cancel_reason == "reassigned"

    run(rig, act)


def test_progress_that_cannot_be_encoded_raises_in_the_executor(rig):
    def act(ctx, _task):
        with pytest.raises(PayloadError):
            ctx.report_progress(object())

    assert run(rig, act).execute_result.code is ResultCode.SUCCESS


# -- texts -----------------------------------------------------------------------------------------


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_error_texts_are_capped_and_never_raise():
    assert error_text(ValueError()) == "ValueError"
    assert "RuntimeError" in error_text(Mute())
    assert len(error_text(ValueError("x" * 10**6)).encode()) <= MAX_TEXT_BYTES
    assert len(capped("é" * 10**6).encode()) <= MAX_TEXT_BYTES
    assert capped("a\ud800b") == "a\\ud800b"
    assert "Mute" in traceback_text(Mute())


def test_deep_recursion_gives_a_short_traceback(rig):
    def act(ctx, task):
        return act(ctx, task)

    task = run(rig, act)
    assert task.execute_result.error.startswith("RecursionError")
    assert len(rig.storage.attempts(task.id)[0].traceback) <= MAX_TEXT_BYTES
