"""Middleware around creating tasks, and its misuse: no error of it loses a task (S8)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from mqtasks import (
    ConfigError,
    InvalidArgument,
    Middleware,
    MQTasks,
    MQTasksError,
    PayloadError,
    TaskOptions,
    TaskRunner,
    chain,
)
from mqtasks.events import subscribe
from mqtasks.testing import manual
from mqtasks.worker import current_context
from tests.app.middlewares import Both, Enqueueing, register, rows
from tests.support.callers import by_sqlite3

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
