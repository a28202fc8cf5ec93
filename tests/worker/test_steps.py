"""Steps of an execution, over the rig: done once, fenced, the same value first and later."""

from __future__ import annotations

import asyncio

import pytest

from mqtasks.errors import InvalidArgument, InvalidTask, PayloadTooLarge, StorageUnavailable
from mqtasks.model import Progress, ResultCode, TaskStatus, decode_progress
from mqtasks.payload import PayloadCodec
from mqtasks.worker.context import TaskContext
from tests.worker.rig import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


def run(rig, act, **options):
    rig.act = act
    (task_id,) = rig.give(1, **options)
    rig.run_next()
    rig.commit()
    return rig.task(task_id)


def again(rig, task_id):
    """Let a task that waits to be retried run once more."""
    rig.clock.advance(5)
    rig.storage.promote_due(10)
    rig.allocate(task_id)
    rig.fetch()
    rig.parts.write_once()
    rig.run_next()
    rig.commit()
    return rig.task(task_id)


def test_w10_after_a_retry_only_later_steps_run(rig):
    called = []

    def one(n: int) -> list[int]:
        called.append("one")
        return [n]

    def two() -> str:
        called.append("two")
        if called.count("two") == 1:
            raise ValueError("not yet")
        return "done"

    def act(ctx, _task):
        return [ctx.step("one", one, 7), ctx.step("two", two), [s.name for s in ctx.steps]]

    task = run(rig, act, max_retry_times=1)
    assert task.status is TaskStatus.SCHEDULED
    task = again(rig, task.id)
    assert task.execute_result.value == b'j[[7],"done",["one","two"]]'
    assert called == ["one", "two", "two"]
    assert [(s.name, s.epoch) for s in rig.storage.steps(task.id)] == [("one", 1), ("two", 2)]


def test_the_first_run_sees_what_a_later_one_will(rig):
    seen = []

    def pair() -> tuple[int, int]:
        return (1, 2)

    def act(ctx, _task):
        seen.append([ctx.step("typed", pair), ctx.step("plain", lambda: (1, 2))])
        if len(seen) == 1:
            raise ValueError

    task = run(rig, act, max_retry_times=1)
    again(rig, task.id)
    assert seen == [[(1, 2), [1, 2]]] * 2


def test_g3_a_step_of_a_lost_task_is_refused_and_cancels_the_executor(rig):
    caught = []

    def act(ctx, task):
        rig.storage.release_many("r", [ctx._held.key], "taken away")
        try:
            ctx.step("late", lambda: 1)
        except InvalidTask as error:
            caught.append((str(error), ctx.cancel_reason))
            raise

    task = run(rig, act)
    assert "step 'late' was not stored" in caught[0][0]
    assert caught[0][1] == "reassigned"
    assert rig.storage.steps(task.id) == []
    assert task.status is TaskStatus.CREATED


def test_a_name_may_be_used_once_in_an_execution_unless_it_failed(rig):
    def act(ctx, _task):
        with pytest.raises(ZeroDivisionError):
            ctx.step("a", lambda: 1 // 0)
        ctx.step("a", lambda: 1)
        with pytest.raises(InvalidArgument, match="page-"):
            ctx.step("a", lambda: 2)
        return True

    assert run(rig, act).execute_result.value == b"jtrue"


def test_a_result_over_the_limit_names_step_size_and_limit(rig):
    def act(ctx, _task):
        ctx.step("big", lambda: b"x" * (2 << 20))

    task = run(rig, act)
    assert "the result of step 'big' is 2097153 bytes, the limit is 1048576" in (
        task.execute_result.error
    )
    assert PayloadTooLarge.__name__ in task.execute_result.error


def test_p14_a_step_waits_while_storage_is_away(rig):
    save = rig.storage.save_step
    failures: list[int] = []

    def failing(*arguments):
        if not failures:
            failures.append(1)
            raise StorageUnavailable("away")
        return save(*arguments)

    rig.storage.save_step = failing
    task = run(rig, lambda ctx, _task: ctx.step("a", lambda: 5))
    assert (task.execute_result.value, failures) == (b"j5", [1])


def test_astep_takes_coroutine_functions_and_plain_ones(rig):
    async def slow(n: int) -> int:
        await asyncio.sleep(0)
        return n

    async def both(ctx: TaskContext) -> list[int]:
        return [await ctx.astep("a", slow, 1), await ctx.astep("b", lambda: 2)]

    task = run(rig, lambda ctx, _task: asyncio.run(both(ctx)))
    assert task.execute_result.value == b"j[1,2]"


# -- progress ------------------------------------------------------------------------------------


def test_s5_progress_is_stored_with_its_last_report(rig):
    def act(ctx, _task):
        ctx.report_progress({"rows": 3})
        ctx.progress(0.5, "half")

    progress = decode_progress(run(rig, act).progress) or Progress()
    assert (progress.fraction, progress.message) == (0.5, "half")
    assert PayloadCodec().decode_result(progress.raw) == {"rows": 3}
    assert progress.at == rig.clock.now_ms()


def test_s5_progress_is_written_at_most_once_a_second(rig):
    writes, save = [], rig.storage.save_progress

    def counting(*arguments):
        writes.append(arguments)
        return save(*arguments)

    rig.storage.save_progress = counting

    def act(ctx, _task):
        for n in range(100):
            ctx.progress(n / 100)
            rig.parts.progress.run_once()

    task = run(rig, act)
    assert len(writes) == 2  # the first, and the last when the task ends
    assert (decode_progress(task.progress) or Progress()).fraction == 0.99


def test_s5_stale_progress_is_refused_and_cancels(rig):
    def act(ctx, _task):
        rig.storage.release_many("r", [ctx._held.key], "taken away")
        ctx.progress(0.7)
        rig.parts.progress.run_once()
        return ctx.cancel_reason

    assert run(rig, act).progress == b""


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), True, "1"])
def test_bad_fractions_are_refused(rig, fraction):
    task = run(rig, lambda ctx, _task: ctx.progress(fraction))
    assert "InvalidArgument: fraction=" in task.execute_result.error


def test_s5_a_result_over_the_limit_fails_the_task_and_says_why(rig):
    task = run(rig, lambda _ctx, _task: b"x" * ((1 << 20) + 1))
    assert task.execute_result.code is ResultCode.FAILED
    assert "1048577 bytes, the limit is 1048576" in task.execute_result.error
