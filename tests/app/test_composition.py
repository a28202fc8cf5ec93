"""Chains, groups, failure policies and children, run on each storage (S12)."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from mqtasks import (
    InvalidArgument,
    MQTasks,
    MQTasksError,
    RunnerOptions,
    Scheduler,
    SchedulerOptions,
    TaskCanceled,
    TaskFailed,
    TaskRunner,
    TaskStatus,
    chain,
    group,
    results,
)
from mqtasks.config import Settings
from mqtasks.model import DependencyOutcome, Leadership, TaskEpoch
from mqtasks.scheduler.cadence import Cadence
from mqtasks.scheduler.resolver import Resolver
from mqtasks.worker import current_context
from tests.support.callers import Caller, by_pymysql, by_sqlite3

DEADLINE = 30.0
LONG = bool(os.environ.get("MQTASKS_TEST_LONG"))


on_each_storage = pytest.mark.parametrize("app", ["memory", "sqlite", "mysql"], indirect=True)


@pytest.fixture
def app(request) -> Iterator[MQTasks]:
    kind = getattr(request, "param", "memory")
    url = "memory://" if kind == "memory" else request.getfixturevalue(f"{kind}_url")
    with MQTasks(settings=Settings.load(url=url, environ={})) as made:
        yield made


@pytest.fixture
def tasks(app: MQTasks) -> Tasks:
    return Tasks(app)


@pytest.fixture
def running(app: MQTasks, tasks: Tasks) -> Iterator[None]:
    with run(app):
        yield


@contextmanager
def run(app: MQTasks, scheduler: Scheduler | None = None) -> Iterator[None]:
    options = RunnerOptions(parallelism=4)
    with (
        scheduler or Scheduler(app.service, SchedulerOptions(promote_poll=0.02)),
        TaskRunner("r", app.service, options, registry=app.registry),
    ):
        yield


class Tasks:
    """Some executors, and how often each argument of ``double`` was executed."""

    def __init__(self, app: MQTasks) -> None:
        self.app = app
        self.runs: list[int] = []

        @app.task(max_retry_times=3, retry_interval=0.001)
        def double(n: int) -> int:
            self.runs.append(n)
            return 2 * n

        @app.task
        def add(n: int = 0) -> int:
            return n + sum(current_context().parent_results(int))

        @app.task
        async def aadd() -> int:
            return sum(await asyncio.to_thread(current_context().parent_results))

        @app.task
        def fail() -> int:
            raise ValueError("no luck")

        @app.task
        def lenient() -> list[int]:
            return current_context().parent_results(int, default=-1)

        @app.task
        def strict() -> list[int]:
            return current_context().parent_results(int)

        @app.task
        def outcomes() -> list[str]:
            return [parent.outcome.name for parent in current_context().parents()]

        self.double, self.add, self.aadd, self.fail = double, add, aadd, fail
        self.lenient, self.strict, self.outcomes = lenient, strict, outcomes


@pytest.mark.usefixtures("running")
def test_s12_results_go_along_a_chain(tasks: Tasks) -> None:
    plan = chain(tasks.double.s(5), tasks.add.s(1), tasks.aadd.s(), tasks.add.s(100))
    assert plan.enqueue().result(DEADLINE) == 111


@pytest.mark.usefixtures("running")
def test_s12_a_group_fans_in_in_its_order(tasks: Tasks) -> None:
    plan = group([chain(tasks.double.s(n), tasks.add.s()) for n in (3, 1, 2)])
    assert plan.then(tasks.strict.s()).enqueue().result(DEADLINE) == [6, 2, 4]
    assert results(plan.enqueue(), DEADLINE) == [6, 2, 4]


def test_s12_hints_of_ended_tasks_move_what_waits(app: MQTasks, tasks: Tasks) -> None:
    scheduler = Scheduler(app.service, SchedulerOptions(resolve_poll=3600))
    never = Cadence(app.service, safety_poll=3600, fast_poll=3600, slow_poll=3600)
    scheduler.parts.resolver._cadence = never
    asked = threading.Event()

    @app.task
    def first() -> int:
        assert asked.wait(DEADLINE)
        return 2

    with run(app, scheduler):
        # The runner has subscribed before, so it has heard it, too.
        app.service.notifier.subscribe([app.service.keys.waiting], lambda *_: asked.set())
        plan = chain(first.s(), *[tasks.add.s(1) for _ in range(5)])
        assert plan.enqueue().result(DEADLINE) == 7


@on_each_storage
@pytest.mark.usefixtures("running")
def test_s12_each_task_of_a_wide_plan_runs_once(app: MQTasks, tasks: Tasks) -> None:
    wide = group([tasks.double.s(n) for n in range(60)])
    last = chain(tasks.double.s(1000), wide, tasks.add.s()).enqueue(id="p")
    assert last.result(DEADLINE) == sum(2 * n for n in range(60))
    assert sorted(tasks.runs) == [*range(60), 1000]
    stored = app.service.query_task()
    assert len(stored) == 62
    assert {task.epoch for task in stored} == {1}, "each was allocated once"
    assert all(not app.service.attempts(task.id) for task in stored)


@on_each_storage
@pytest.mark.usefixtures("running")
def test_s12_by_default_a_failure_cancels_what_follows_and_says_why(tasks: Tasks) -> None:
    last = chain(tasks.fail.s(), tasks.double.s(1), tasks.double.s(2)).enqueue(id="p")
    with pytest.raises(TaskCanceled, match=r"parent 'p/1' was canceled") as caught:
        last.result(DEADLINE)
    assert caught.value.reason
    middle = tasks.app.handle("p/1")
    with pytest.raises(TaskCanceled, match=r"parent 'p/0' failed"):
        asyncio.run(middle.aresult(DEADLINE))
    assert tasks.runs == []


@pytest.mark.usefixtures("running")
def test_s12_a_failure_may_fail_what_follows(tasks: Tasks) -> None:
    plan = chain(tasks.fail.s(), tasks.double.options(on_failure="fail").s(1))
    with pytest.raises(TaskFailed, match="parent 'p/0' failed"):
        plan.enqueue(id="p").result(DEADLINE)
    assert tasks.runs == []


@pytest.mark.usefixtures("running")
def test_s12_what_runs_after_a_failure_sees_it(tasks: Tasks) -> None:
    parents = group([tasks.double.s(1), tasks.fail.s(), tasks.double.s(2)])
    lenient = parents.then(tasks.lenient.options(on_failure="run").s()).enqueue()
    seen = parents.then(tasks.outcomes.options(on_failure="run").s()).enqueue()
    strict = parents.then(tasks.strict.options(on_failure="run").s()).enqueue()
    assert lenient.result(DEADLINE) == [2, -1, 4]
    names = [item.name for item in (DependencyOutcome.SUCCEEDED, DependencyOutcome.FAILED)]
    assert seen.result(DEADLINE) == [names[0], names[1], names[0]]
    with pytest.raises(TaskFailed, match="no luck"):
        strict.result(DEADLINE)


def test_s12_a_retry_of_the_parent_is_no_failure(app: MQTasks, tasks: Tasks) -> None:
    tries = []

    @app.task(max_retry_times=2, retry_interval=0.001)
    def flaky() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("not yet")
        return 7

    with run(app):
        assert flaky.s().then(tasks.add.s(1)).enqueue().result(DEADLINE) == 8


@pytest.mark.usefixtures("running")
def test_s12_canceling_a_parent_or_a_waiting_task(tasks: Tasks) -> None:
    parent = tasks.double.options(delay=3600).enqueue(1)
    child = tasks.double.options(after=[parent]).enqueue(2)
    other = tasks.double.options(after=[parent]).enqueue(3)
    assert (child.status(), child.cancel()) == (TaskStatus.WAITING, True)
    with pytest.raises(TaskCanceled, match=rf"task {child.task_id} was canceled$"):
        child.result(DEADLINE)
    parent.cancel()
    with pytest.raises(TaskCanceled, match=rf"parent '{parent.id}' was canceled"):
        other.result(DEADLINE)


# -- children ----------------------------------------------------------------------------------


@on_each_storage
def test_s12_children_are_the_same_in_each_attempt(app: MQTasks, tasks: Tasks) -> None:
    attempts = []

    @app.task(max_retry_times=2, retry_interval=0.001)
    def parent() -> int:
        context = current_context()
        made = [context.enqueue_child(tasks.double.s(n)) for n in range(3)]
        attempts.append([(child.id, child.is_new) for child in made])
        if len(attempts) < 3:
            raise ValueError("again")
        last = context.enqueue_child(tasks.add.s(100), after=made)
        return last.task_id

    with run(app):
        handle = parent.options(id="p").enqueue()
        total = app.handle(handle.result(DEADLINE)).result(DEADLINE)
    assert total == 106
    assert [[is_new for _, is_new in made] for made in attempts] == [
        [True] * 3,
        [False] * 3,
        [False] * 3,
    ]
    assert [name for name, _ in attempts[0]] == [f"p/double:{n}" for n in range(3)]
    assert sorted(tasks.runs) == [0, 1, 2]
    children = app.service.storage.children(handle.task_id)
    assert len(children) == 4


def test_s12_an_attempt_that_makes_other_children_is_refused(app: MQTasks, tasks: Tasks) -> None:
    seen: list[str] = []

    @app.task(max_retry_times=1, retry_interval=0.001)
    def parent() -> None:
        context = current_context()
        seen.append("again" if seen else "first")
        context.enqueue_child(tasks.double.s(len(seen)))
        raise ValueError("no")

    with run(app):
        handle = parent.options(id="p").enqueue()
        with pytest.raises(TaskFailed, match="made with other arguments by an earlier execution"):
            handle.result(DEADLINE)
    assert len(app.service.storage.children(handle.task_id)) == 1


def test_s12_an_async_parent_makes_plans_as_children(app: MQTasks, tasks: Tasks) -> None:
    @app.task
    async def parent() -> str:
        context = current_context()
        with pytest.raises(MQTasksError, match="aenqueue_child"):
            context.enqueue_child(tasks.double.s(1))
        with pytest.raises(MQTasksError, match=r"asyncio\.to_thread"):
            context.parent_results()
        with pytest.raises(InvalidArgument, match="stays in its own thread"):
            await context.aenqueue_child(tasks.double.options(connection=object()).s(1))
        numbers = group([tasks.double.s(n) for n in range(4)])
        last = await context.aenqueue_child(numbers.then(tasks.add.s()))
        one = await context.aenqueue_child(tasks.double.options(id="mine").s(7))
        assert one.id == "mine"
        return last.id

    with run(app):
        handle = parent.options(id="p").enqueue()
        assert handle.result(DEADLINE) == "p/chain:0"
        assert app.handle("p/chain:0").result(DEADLINE) == 12
    assert {task.parent_task_id for task in app.service.storage.find(["mine"]).values()} == {"p"}


@on_each_storage
def test_s12_a_worker_that_has_lost_its_task_makes_no_children(app: MQTasks, tasks: Tasks) -> None:
    begun, moved = threading.Event(), threading.Event()
    said: list[str] = []

    @app.task
    def parent() -> int:
        context = current_context()
        if context.epoch == 1:
            begun.set()
            assert moved.wait(DEADLINE)
            with pytest.raises(MQTasksError) as caught:
                context.enqueue_child(tasks.double.s(1))
            said.append(type(caught.value).__name__)
            raise caught.value
        context.enqueue_child(tasks.double.s(2))
        return context.epoch

    with run(app):
        handle = parent.options(id="p").enqueue()
        assert begun.wait(DEADLINE)
        task = handle.fetch()
        key = TaskEpoch(task.id, task.epoch)
        app.service.storage.release_many("r", [key], "thought dead")
        app.service.hint_created()
        moved.set()
        assert handle.result(DEADLINE) == 2
        assert app.handle("p/double:0").result(DEADLINE) == 4
    assert said[0] in {"InvalidTask", "TaskInterrupted"}


def test_s12_a_cycle_and_an_unknown_parent_are_refused(tasks: Tasks) -> None:
    with pytest.raises(InvalidArgument, match="after"):
        tasks.double.options(after=["nobody"]).enqueue(1)
    with pytest.raises(InvalidArgument, match="after"):
        tasks.double.options(id="x", after=["x"]).enqueue(1)
    first = tasks.double.options(id="a", after=["b"])
    with pytest.raises(InvalidArgument, match="after"):
        group([first.s(1), tasks.double.options(id="b", after=["a"]).s(2)]).enqueue()


# -- two that both lead ------------------------------------------------------------------------


@on_each_storage
def test_s12_three_that_resolve_at_once_start_each_task_once(app: MQTasks, tasks: Tasks) -> None:
    """Two resolvers that believe to lead race with the leader's."""
    leading = Leadership("scheduler", "nobody", 1)
    cadence = Cadence(app.service, safety_poll=1, fast_poll=0.01, slow_poll=0.01)
    rivals = [Resolver(app.service, lambda: leading, cadence, batch=7) for _ in range(2)]
    over = threading.Event()
    errors: list[BaseException] = []

    def resolve(rival: Resolver) -> None:
        try:
            while not over.is_set():
                rival.run_once()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=resolve, args=(rival,)) for rival in rivals]
    with run(app):
        for thread in threads:
            thread.start()
        wide = group([chain(tasks.double.s(n), tasks.add.s()) for n in range(40)])
        last = chain(wide, tasks.add.s(), tasks.add.s(1)).enqueue()
        try:
            assert last.result(DEADLINE) == 1 + sum(2 * n for n in range(40))
        finally:
            over.set()
            for thread in threads:
                thread.join(DEADLINE)
    assert errors == []
    assert sorted(tasks.runs) == list(range(40))
    stored = app.service.query_task()
    assert {task.epoch for task in stored} == {1}
    assert not any(app.service.attempts(task.id) for task in stored)


@on_each_storage
def test_s12_a_group_of_thousands_fans_in(app: MQTasks, tasks: Tasks) -> None:
    count = 10_000 if LONG else 700
    last = group([tasks.double.s(n) for n in range(count)]).then(tasks.add.s()).enqueue()
    with run(app):
        assert last.result(4 * DEADLINE) == count * (count - 1)
    assert len(tasks.runs) == count
    assert last.fetch().epoch == 1


# -- transactions --------------------------------------------------------------------------------


@pytest.mark.parametrize("app", ["sqlite", "mysql"], indirect=True)
def test_s12_a_plan_follows_the_callers_transaction(app: MQTasks, tasks: Tasks) -> None:
    plan = group([tasks.double.s(n) for n in range(5)]).then(tasks.add.s())
    with caller_of(app) as caller:
        plan.enqueue(id="p", connection=caller.target)
        caller.rollback()
        assert app.service.query_task() == []
        last = plan.enqueue(id="p", connection=caller.target)
        caller.commit()
        later = tasks.add.options(connection=caller.target, after=[last]).enqueue(1)
        caller.commit()
    app.committed()
    with run(app):
        assert (last.result(DEADLINE), later.result(DEADLINE)) == (20, 21)


@pytest.mark.parametrize("app", ["sqlite", "mysql"], indirect=True)
@pytest.mark.timeout(60)
def test_s12_children_and_completion_commit_together(app: MQTasks, tasks: Tasks) -> None:
    @app.task(max_retry_times=1, retry_interval=0.001)
    def parent() -> None:
        context = current_context()
        with caller_of(app) as caller, context.transaction(caller.target):
            child = tasks.double.options(connection=caller.target).s(context.attempt)
            context.enqueue_child(child)
            if context.attempt == 0:
                raise ValueError("rolled back")

    handle = parent.options(id="p").enqueue()
    with run(app):
        assert handle.result(DEADLINE) is None
        assert app.handle("p/double:0").result(DEADLINE) == 2
    assert tasks.runs == [1], "the first attempt's child was rolled back with it"


def caller_of(app: MQTasks) -> AbstractContextManager[Caller]:
    url = app.settings.url
    return by_sqlite3(url) if url.startswith("sqlite") else by_pymysql(url)
