"""`TaskRunner` with its real threads: definitions, async executors, isolation, conflicts."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from mqtasks.errors import MQTasksError, RunnerConflict
from mqtasks.events import bus
from mqtasks.model import ResultCode, RunnerRecord, TaskMetadata, TaskOptions
from mqtasks.payload import PayloadCodec
from mqtasks.registry import TaskDefinition, TaskRegistry
from mqtasks.service import TaskService
from mqtasks.storage.memory import MemoryTaskStorage
from mqtasks.worker import RunnerOptions, TaskRunner, current_context

CODEC = PayloadCodec()


@pytest.fixture
def service():
    with TaskService(MemoryTaskStorage()) as made:
        yield made


@pytest.fixture
def finished():
    """A semaphore that counts the ends of tasks."""
    ends = threading.Semaphore(0)
    end = bus.subscribe("task.finished", lambda *_: ends.release())
    yield ends
    end()


def options(**changes) -> RunnerOptions:
    return RunnerOptions(
        **{
            "parallelism": 3,
            "heartbeat_interval": 0.3,
            "heartbeat_timeout": 1.5,
            "cancel_timeout": 0.3,
            **changes,
        }
    )


def run(service, finished, runner: TaskRunner, *tasks: TaskMetadata):
    """Run tasks to their ends and return them as stored."""
    with runner:
        ids = service.create_batch(tasks)
        for task in service.storage.load(ids):
            service.allocate(task, runner.runner_id)
        for _ in ids:
            assert finished.acquire(timeout=10)
    return service.storage.load(ids)


def test_functions_get_the_arguments_of_the_payload(service, finished):
    registry = TaskRegistry()

    def add(a: int, b: int = 1) -> int:
        return a + b

    async def shout(word: str) -> str:
        await asyncio.sleep(0)
        return word.upper()

    async def silent() -> None:
        assert current_context().task.metadata.executor == "silent"

    def raw(ctx, task):
        return f"{ctx.runner_id} {task.metadata.executor}"

    registry.register(TaskDefinition.call("add", add))
    registry.register(TaskDefinition.call("shout", shout))
    registry.register(TaskDefinition.call("silent", silent))
    registry.register(TaskDefinition.raw(9, raw))
    done = run(
        service,
        finished,
        TaskRunner("r", service, options(), registry),
        TaskMetadata("1", "add", CODEC.encode_call((2,), {"b": 3})),
        TaskMetadata("2", "shout", CODEC.encode_call(("hey",))),
        TaskMetadata("3", "silent"),
        TaskMetadata("4", 9),
        TaskMetadata("5", "add", CODEC.encode_call(("x",))),
        TaskMetadata("6", "add"),
    )
    values = [CODEC.decode_result(task.execute_result.value) for task in done[:4]]
    assert values == [5, "HEY", None, "r 9"]
    assert [task.execute_result.code for task in done[4:]] == [ResultCode.FAILED] * 2
    assert "PayloadError" in done[4].execute_result.error
    assert "TypeError" in done[5].execute_result.error


def test_what_a_task_puts_into_a_context_variable_does_not_leak(service, finished):
    variable: ContextVar[int] = ContextVar("variable", default=0)
    seen = []

    def plain(_ctx, _task):
        seen.append(variable.get())
        variable.set(1)

    async def coroutine(_ctx, _task):
        seen.append(variable.get())
        variable.set(1)

    runner = TaskRunner("r", service, options(parallelism=1))
    runner.register_executor("plain", plain)
    runner.register_executor("async", coroutine)
    kinds = ["plain", "plain", "async", "async"]
    run(service, finished, runner, *[TaskMetadata(str(n), k) for n, k in enumerate(kinds)])
    assert seen == [0, 0, 0, 0]


def test_a_blocking_wait_in_the_event_loop_is_refused_with_the_remedy(service, finished):
    errors = []

    async def work(ctx, _task):
        try:
            ctx.wait_cancelled(1)
        except MQTasksError as error:
            errors.append(str(error))

    runner = TaskRunner("r", service, options())
    runner.register_executor("work", work)
    run(service, finished, runner, TaskMetadata("1", "work"))
    assert "asyncio.sleep" in errors[0]


def test_an_async_timeout_cancels_at_the_next_await(service, finished):
    async def work(_ctx, _task):
        await asyncio.sleep(60)

    runner = TaskRunner("r", service, options())
    runner.register_executor("work", work)
    metadata = TaskMetadata("1", "work", b"", TaskOptions(timeout=0.05))
    (task,) = run(service, finished, runner, metadata)
    assert task.execute_result.error == "timed out after 0.05 s"


def test_plain_and_async_tasks_share_the_slots(service, finished):
    lock = threading.Lock()
    now, most = 0, 0

    def enter() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)

    def leave() -> None:
        nonlocal now
        with lock:
            now -= 1

    def plain(ctx, _task):
        enter()
        ctx.wait_cancelled(0.01)
        leave()

    async def coroutine(_ctx, _task):
        enter()
        await asyncio.sleep(0.01)
        leave()

    runner = TaskRunner("r", service, options(parallelism=3))
    runner.register_executor("plain", plain)
    runner.register_executor("async", coroutine)
    tasks = [TaskMetadata(str(n), ("plain", "async")[n % 2]) for n in range(30)]
    run(service, finished, runner, *tasks)
    assert most == 3


def test_p2_a_stop_ends_the_wait_for_an_id_that_is_leased_elsewhere(service):
    service.storage.register_runner(RunnerRecord(id="r", holder="somebody"), 600_000, 3)
    runner = TaskRunner("r", service, options())
    runner.register_executor("work", lambda _ctx, _task: None)
    waits = threading.Event()
    caught: list[Exception] = []
    register = service.storage.register_runner

    def noted(*args):
        waits.set()
        return register(*args)

    service.storage.register_runner = noted

    def start() -> None:
        try:
            runner.start()
        except RunnerConflict as error:
            caught.append(error)

    starter = threading.Thread(target=start)
    starter.start()
    assert waits.wait(5)
    runner.stop()
    starter.join(5)
    assert isinstance(caught[0], RunnerConflict)
    assert not runner.running


def test_p2_of_two_processes_with_one_id_the_second_is_refused(service):
    first = TaskRunner("r", service, options())
    second = TaskRunner("r", service, options(on_conflict="raise"))
    for runner in (first, second):
        runner.register_executor("work", lambda _ctx, _task: None)
    with first:
        with pytest.raises(RunnerConflict, match="'r'"):
            second.start()
        assert first.generation == 1
    with second:
        assert second.generation == 2
