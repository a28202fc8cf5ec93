"""Middleware around executing tasks, and hearing of failures: none of its errors loses a task."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from contextvars import ContextVar
from queue import SimpleQueue
from typing import Any

import pytest

from mqtasks import (
    AttemptOutcome,
    Cancel,
    Failure,
    Middleware,
    MQTasks,
    PayloadError,
    Retry,
    RunnerOptions,
    Scheduler,
    Snooze,
    TaskFailed,
    TaskRunner,
    around,
    on_error,
)
from mqtasks.config import Settings
from mqtasks.registry import TaskDefinition
from mqtasks.testing import manual
from mqtasks.worker.definitions import executor_of
from tests.app.middlewares import DEADLINE, RETRIES, Both, Enqueueing, history, register, run

# -- executing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_middlewares_surround_an_execution_the_first_one_outermost(app: MQTasks, kind):
    seen = []

    def layer(name):
        def before(context):
            options = context.task.metadata.options
            seen.append((name, context.task_id, context.epoch, context.attempt, options.headers))

        return Both(before, lambda value: f"{name}({value})")

    app.use(layer("a"), layer("b"))
    app.use(Enqueueing(lambda context: context.tasks[0].set_header("h", "1")))
    handle = register(app, kind, lambda number: number).enqueue(5)
    run(app, handle)
    assert handle.result(0) == "a(b(5))"
    assert seen == [(name, handle.task_id, 1, 0, {"h": "1"}) for name in "ab"]


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("error", [LookupError("oh"), SystemExit("oh"), KeyboardInterrupt("oh")])
@pytest.mark.parametrize("where", ["before", "after"])
def test_s8_an_error_of_a_middleware_is_a_failed_attempt_that_is_retried(
    local: MQTasks, kind, error, where
):
    calls = []

    def act(value):
        calls.append(where)
        if len(calls) == 1:
            raise error
        return value

    local.use(Both(**{where: act}))
    handle = register(local, kind, lambda number: number, **RETRIES).enqueue(5)
    run(local, handle)
    [(outcome, text)] = history(local, handle)
    assert outcome is AttemptOutcome.FAILED
    assert text == f"{type(error).__name__}: oh"
    assert handle.result(0) == 5
    assert len(calls) == 2


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_without_call_next_the_middlewares_answer_is_the_result(local: MQTasks, kind):
    class Answers(Middleware):
        def execute(self, call_next, context):
            return "cached"

        async def aexecute(self, call_next, context):
            return "cached"

    local.use(Answers())
    ran: list[int] = []
    handle = register(local, kind, ran.append).enqueue(5)
    run(local, handle)
    assert handle.result(0) == "cached"
    assert ran == []


def test_a_middleware_may_decide_what_becomes_of_the_task(local: MQTasks):
    class Later(Middleware):
        def execute(self, call_next, context):
            return call_next(context) if context.epoch > 1 else Snooze(0.01)

    local.use(Later())
    handle = register(local, "plain", lambda number: number).enqueue(5)
    run(local, handle)
    assert handle.result(0) == 5
    assert [outcome for outcome, _ in history(local, handle)] == [AttemptOutcome.SNOOZED]


def test_an_async_middleware_that_forgets_to_await_fails_the_attempt_and_says_so(local: MQTasks):
    class Forgets(Middleware):
        execute = Middleware.execute

        async def aexecute(self, call_next, context):
            return call_next(context)

    local.use(Forgets())
    handle = register(local, "async", lambda number: number).enqueue(5)
    run(local, handle)
    with pytest.raises(TaskFailed, match="return await call_next"):
        handle.result(0)


def test_executors_of_the_references_form_are_surrounded_too(local: MQTasks):
    seen = []
    local.use(Both(lambda context: seen.append(context.task.metadata.executor)))
    local.registry.register(TaskDefinition.raw("raw", lambda _context, task: task.metadata.context))
    metadata_id = local.remote("raw").options(id="x").enqueue().id
    handle = local.handle(metadata_id)
    run(local, handle)
    assert seen == ["raw"]


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_around_works_for_both_kinds_and_swallows_nothing(local: MQTasks, kind):
    seen = []

    @contextlib.contextmanager
    def timing(context):
        seen.append("in")
        try:
            yield
        except LookupError as error:
            seen.append(str(error))
        finally:
            seen.append("out")

    def work(number):
        if number:
            raise LookupError("oh")
        return "fine"

    local.use(around(timing))
    task = register(local, kind, work)
    good, bad = task.enqueue(0), task.enqueue(1)
    run(local, good)
    run(local, bad)
    assert sorted(seen) == sorted(["in", "out", "in", "oh", "out"])
    assert good.result(0) == "fine"
    with pytest.raises(TaskFailed, match="LookupError: oh"):
        bad.result(0)


def test_without_middleware_nothing_stands_around_an_executor(local: MQTasks):
    work = register(local, "plain", lambda number: number)
    bare = executor_of(work.definition)
    assert bare.__qualname__ == executor_of(work.definition, [Enqueueing()]).__qualname__
    assert executor_of(work.definition, [Both()]).__qualname__ != bare.__qualname__
    assert getattr(executor_of(work.definition, [Both()]), "encode")("x") == b'j"x"'  # noqa: B009


# -- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_each_failed_attempt_is_told_with_its_exception(app: MQTasks, kind):
    told: list[Failure] = []
    scope: ContextVar[str] = ContextVar("scope", default="")
    seen = []

    def report(failure):
        told.append(failure)
        seen.append(scope.get())

    app.use(on_error(report), Both(lambda context: scope.set(f"attempt {context.attempt}")))

    def work(number):
        raise LookupError(number)

    handle = register(app, kind, work, **RETRIES).enqueue(5)
    run(app, handle)
    assert [(f.attempt, f.will_retry, f.outcome, f.text) for f in told] == [
        (1, True, AttemptOutcome.FAILED, "LookupError: 5"),
        (2, False, AttemptOutcome.FAILED, "LookupError: 5"),
    ]
    assert all(type(f.error) is LookupError and f.error.__traceback__ for f in told)
    assert [(f.task.id, f.runner_id) for f in told] == [(handle.task_id, "r")] * 2
    assert told[0].delay_ms == 0
    assert seen == ["attempt 0", "attempt 1"], "it runs in the context of the executor"


def test_a_timeout_is_told_though_the_executor_swallowed_it(local: MQTasks):
    told: list[Any] = []
    local.use(on_error(told.append))

    @local.task(timeout=0.05)
    async def sleepy() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(DEADLINE)

    run(local, sleepy.enqueue())
    [failure] = told
    assert (failure.outcome, failure.error) == (AttemptOutcome.TIMED_OUT, None)
    assert failure.text.startswith("timed out after 0.05 s")


def test_a_timeout_is_told_though_the_executor_never_returns(local: MQTasks):
    told: SimpleQueue[Failure] = SimpleQueue()
    release = threading.Event()
    local.use(on_error(told.put))

    @local.task(timeout=0.05)
    def stuck() -> None:
        release.wait(DEADLINE)

    handle = stuck.enqueue()
    options = RunnerOptions(cancel_timeout=0.05, abort_timeout=0.05)
    try:
        with Scheduler(local.service), TaskRunner("r", local.service, options, local.registry):
            failure = told.get(timeout=DEADLINE)
            release.set()
            assert handle.wait(DEADLINE)
    finally:
        release.set()
    assert (failure.outcome, failure.error) == (AttemptOutcome.TIMED_OUT, None)
    assert "abandoned" in failure.text
    assert told.empty()


def test_a_result_that_cannot_be_stored_is_told(local: MQTasks):
    told: list[Any] = []
    local.use(on_error(told.append))

    @local.task
    def unstorable() -> object:
        return threading.Lock()

    run(local, unstorable.enqueue())
    assert [type(failure.error) for failure in told] == [PayloadError]


def test_a_verdict_is_told_only_if_it_is_a_failure(local: MQTasks):
    told: list[Any] = []
    local.use(on_error(told.append))

    done = []

    @local.task(max_retry_times=1)
    def verdict(name: str) -> None:
        if name in done:
            return
        done.append(name)
        raise {"retry": Retry("again", after=0.0), "snooze": Snooze(0.0), "cancel": Cancel("no")}[
            name
        ]

    run(local, *(verdict.enqueue(name) for name in ("retry", "snooze", "cancel")))
    assert [type(failure.error) for failure in told] == [Retry]


def test_s8_a_callback_that_fails_is_logged_and_changes_nothing(local: MQTasks, caplog):
    told: list[Any] = []

    def broken(_failure):
        raise SystemExit("sentry is away")

    local.use(on_error(broken), on_error(told.append))

    def work(number):
        raise LookupError(number)

    handle = register(local, "plain", work).enqueue(5)
    with caplog.at_level(logging.ERROR, "mqtasks.middleware"):
        run(local, handle)
    assert len(told) == 1
    assert "sentry is away" in caplog.text
    with pytest.raises(TaskFailed, match="LookupError"):
        handle.result(0)


# -- other ways to execute -----------------------------------------------------------------------


def test_in_the_testing_kit_tasks_run_inside_their_middlewares():
    seen: list[Any] = []
    app = MQTasks("memory://", middleware=[Both(lambda context: seen.append(context.task_id))])
    app.use(Enqueueing(lambda context: seen.append(context.tasks[0].id)), on_error(seen.append))

    @app.task
    def divide(number: int) -> float:
        return 1 / number

    with manual(app) as tester:
        handle = divide.options(id="by zero").enqueue(0)
        tester.drain()
    assert seen[:2] == ["by zero", handle.task_id]
    assert type(seen[2].error) is ZeroDivisionError


def test_isolated_tasks_run_inside_middlewares_in_their_own_process(sqlite_url, tmp_path):
    from tests.app.surrounded import app, work

    app.configure(Settings.load(url=sqlite_url, environ={}))
    options = RunnerOptions(max_crashes=0)
    told = {how: tmp_path / how for how in ("return", "raise", "die")}
    with app:
        handles = {
            how: work.options(headers={"note": how, "file": str(file)}).enqueue(how)
            for how, file in told.items()
        }
        with (
            Scheduler(app.service),
            TaskRunner("r", app.service, options, registry=app.registry),
        ):
            for handle in handles.values():
                assert handle.wait(DEADLINE)
        marked: Any = handles["return"].result(0)
        endings = {how: file.read_text().split() for how, file in told.items() if file.exists()}
    assert marked[1] == "return"
    assert marked[0] != os.getpid()
    assert endings["raise"][1:] == ["LookupError", "FAILED", "raise"]
    assert int(endings["raise"][0]) != os.getpid(), "its exception is known there alone"
    # What nobody there can tell is told here, where no middleware was around it.
    assert endings["die"] == [str(os.getpid()), "NoneType", "CRASHED"]
    assert set(endings) == {"raise", "die"}
