"""Middleware around creating and executing tasks: no error of it loses a task (S8)."""

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
    ConfigError,
    Failure,
    InvalidArgument,
    Middleware,
    MQTasks,
    MQTasksError,
    PayloadError,
    Retry,
    RunnerOptions,
    Scheduler,
    Snooze,
    TaskFailed,
    TaskOptions,
    TaskRunner,
    around,
    chain,
    on_error,
)
from mqtasks.config import Settings
from mqtasks.events import subscribe
from mqtasks.registry import TaskDefinition
from mqtasks.testing import manual
from mqtasks.worker import current_context
from mqtasks.worker.definitions import executor_of
from tests.support.callers import by_sqlite3

DEADLINE = 30.0
RETRIES = {"max_retry_times": 1, "retry_interval": 0.0}


@pytest.fixture
def local():
    with MQTasks("memory://") as made:
        yield made


def run(app, *handles):
    with Scheduler(app.service), TaskRunner("r", app.service, registry=app.registry):
        for handle in handles:
            assert handle.wait(DEADLINE)


def history(app, handle):
    return [(AttemptOutcome(a.outcome), a.error) for a in app.service.attempts(handle.task_id)]


def rows(app):
    return [task.metadata.id for task in app.service.query_task()]


class Both(Middleware):
    """Stands around both kinds of executors, by one pair of callbacks."""

    def __init__(self, before=lambda _context: None, after=lambda value: value):
        self.before, self.after = before, after

    def execute(self, call_next, context):
        self.before(context)
        return self.after(call_next(context))

    async def aexecute(self, call_next, context):
        self.before(context)
        return self.after(await call_next(context))


class Enqueueing(Middleware):
    def __init__(self, before=lambda _context: None, after=lambda _context: None):
        self.before, self.after = before, after

    def enqueue(self, call_next, context):
        self.before(context)
        call_next(context)  # the answer may be forgotten
        self.after(context)


def register(app: MQTasks, kind, function, **options):
    """Register ``function`` as a plain or an ``async def`` task."""
    if kind == "plain":

        @app.task(name="work", **options)
        def work(number: int = 0) -> object:
            return function(number)

        return work

    @app.task(name="work", **options)
    async def work_async(number: int = 0) -> object:
        await asyncio.sleep(0)
        return function(number)

    return work_async


# -- creating ------------------------------------------------------------------------------------


def test_a_middleware_reads_and_changes_what_is_created(app: MQTasks):
    seen: list[Any] = []

    def trace(context):
        assert context.created is None
        for task in context.tasks:
            seen.append((task.executor, task.id, task.arguments, task.options.priority))
            task.set_header("trace", f"of {task.id}")
            task.set_options(priority=7)
            args, kwargs = task.arguments
            task.set_arguments(*(number + 1 for number in args), **kwargs)

    app.use(Enqueueing(trace, lambda context: seen.append(len(context.created))))

    @app.task
    def add(number: int) -> int:
        return number

    add.options(id="one").enqueue(1)
    asyncio.run(add.options(id="two").aenqueue(2))
    add.enqueue_many([(3,), {"number": 4}], chunk=5)
    assert seen[:4] == [("add", "one", ((1,), {}), 0), 1, ("add", "two", ((2,), {}), 0), 1]
    assert [entry[2] for entry in seen[4:6]] == [((3,), {}), ((), {"number": 4})]
    assert seen[6:] == [2], "a chunk is one creation"

    stored = {task.metadata.id: task.metadata for task in app.service.query_task()}
    assert stored["one"].options == TaskOptions(priority=7, headers={"trace": "of one"})
    definition = app.registry.require("add")
    assert definition.codec.decode_call(stored["two"].context, definition.signature)[0] == (3,)


def test_s8_an_error_before_the_creation_reaches_the_caller_and_writes_nothing(app: MQTasks):
    def refuse(_context):
        raise PermissionError("not today")

    app.use(Enqueueing(refuse))
    work = register(app, "plain", lambda number: number)
    for call in (
        work.enqueue,
        lambda: work.enqueue_many([(1,), (2,)]),
        lambda: asyncio.run(work.aenqueue(1)),
    ):
        with pytest.raises(PermissionError, match="not today"):
            call()
    assert rows(app) == []


def test_s8_what_a_middleware_makes_unstorable_is_not_written(
    local: MQTasks,
):
    work = register(local, "plain", lambda number: number)
    local.use(spoil := Enqueueing(lambda context: context.tasks[1].set_options(priority=2**40)))
    with pytest.raises(InvalidArgument, match="priority"):
        work.enqueue_many([(1,), (2,)])
    spoil.before = lambda context: context.tasks[0].set_header("big", "x" * 20_000)
    with pytest.raises(InvalidArgument, match="headers"):
        work.enqueue(1)
    spoil.before = lambda context: context.tasks[0].set_arguments("not a number")
    with pytest.raises(PayloadError, match="number"):
        work.enqueue(1)
    assert rows(local) == []


def test_s8_an_error_after_the_creation_hides_no_task_from_its_producer(app, caplog):
    def break_down(_context):
        raise LookupError("too late")

    app.use(Enqueueing(after=break_down))
    work = register(app, "plain", lambda number: number)
    handle = work.options(id="there").enqueue(1)
    assert (handle.id, handle.is_new, rows(app)) == ("there", True, ["there"])
    assert "failed after 1 tasks were created" in caplog.text


def test_s8_a_middleware_must_call_on_and_may_do_so_twice(
    local: MQTasks,
):
    work = register(local, "plain", lambda number: number)

    class Forgets(Middleware):
        def enqueue(self, call_next, context):
            return None

    class Repeats(Middleware):
        def enqueue(self, call_next, context):
            assert call_next(context) == call_next(context)

    local.use(Repeats())
    assert work.options(id="a").enqueue(1).is_new
    local.use(Forgets())
    with pytest.raises(MQTasksError, match=r"Forgets.*neither called call_next nor raised"):
        work.enqueue(1)
    assert rows(local) == ["a"]


def test_s8_in_the_callers_transaction_an_error_leaves_the_decision_to_the_caller(sqlite_url):
    app = MQTasks(sqlite_url)
    work = register(app, "plain", lambda number: number)

    def break_down(context):
        assert context.in_transaction
        assert context.created is not None
        raise LookupError("too late")

    app.use(Enqueueing(after=break_down))
    with app, by_sqlite3(sqlite_url) as caller:
        assert rows(app) == []
        caller.execute("BEGIN")
        with pytest.raises(LookupError):
            work.options(connection=caller.target).enqueue(1)
        caller.rollback()
        assert rows(app) == []


def test_an_interrupt_in_a_middleware_gets_through_to_the_caller(local: MQTasks):
    def interrupt(_context):
        raise KeyboardInterrupt

    work = register(local, "plain", lambda number: number)
    local.use(Enqueueing(after=interrupt))
    with pytest.raises(KeyboardInterrupt):
        work.enqueue(1)


def test_an_enqueued_event_tells_of_new_tasks_alone(app, sqlite_url):
    told: list[Any] = []
    work = register(app, "plain", lambda number: number)
    with contextlib.ExitStack() as stack:
        stack.callback(subscribe("task.enqueued", lambda _name, fields: told.append(dict(fields))))
        handle = work.options(id="once").enqueue(1)
        work.options(id="once").enqueue(1)
    work.options(id="unheard").enqueue(1)
    assert told == [{"task_id": handle.task_id, "metadata_id": "once", "executor": "work"}]


def test_children_and_plans_are_created_inside_middlewares(local: MQTasks):
    local.use(Enqueueing(lambda context: seen.append([task.id for task in context.tasks])))
    seen: list[list[str]] = []
    leaf = register(local, "plain", lambda number: number)

    @local.task
    def parent() -> None:
        current_context().enqueue_child(leaf.s(1))

    with manual(local) as tester:
        chain(leaf.s(1), leaf.s(2)).enqueue(id="plan")
        parent.options(id="p").enqueue()
        tester.drain()
    assert seen == [["plan/0", "plan"], ["p"], ["p/work:0"]]


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


# -- misuse --------------------------------------------------------------------------------------


def test_what_cannot_work_is_refused_when_it_is_used(local: MQTasks):
    class AsyncExecute(Middleware):
        async def execute(self, call_next, context):
            return await call_next(context)

    with pytest.raises(ConfigError, match=r"AsyncExecute\.execute must not.*aexecute"):
        local.use(AsyncExecute())
    with pytest.raises(ConfigError, match="no middleware"):
        local.use(lambda call_next, context: call_next(context))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no middleware"):
        MQTasks("memory://", middleware=[Middleware])  # type: ignore[list-item]  # the class, not one of them


@pytest.mark.parametrize(("kind", "method"), [("plain", "aexecute"), ("async", "execute")])
def test_a_middleware_for_the_other_kind_alone_is_refused_by_the_runner(
    local: MQTasks, kind, method
):
    class Half(Middleware):
        pass

    setattr(Half, method, Both.__dict__[method])
    register(local, kind, lambda number: number)
    local.use(Half())
    with pytest.raises(ConfigError, match=f"Half has {method}.*'work'.*Middleware"):
        TaskRunner("r", local.service, registry=local.registry)
    missing = "execute" if method == "aexecute" else "aexecute"
    setattr(Half, missing, getattr(Middleware, missing))  # on purpose
    TaskRunner("r", local.service, registry=local.registry)


def test_using_a_middleware_twice_uses_it_once(local: MQTasks):
    one = Both()
    local.use(one, one)
    local.use(one)
    assert local.registry.middlewares == (one,)


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
