"""Steps of an async executor in a real runner: its threads, its event loop, its storage (W10)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from mqtasks import MQTasks
from mqtasks.config import Settings
from mqtasks.errors import InvalidTask
from mqtasks.model import TaskStatus
from mqtasks.scheduler import Scheduler
from mqtasks.worker import TaskRunner, current_context

DEADLINE = 60.0


@pytest.fixture(params=["memory", "sqlite", "mysql"])
def app(request: pytest.FixtureRequest) -> Iterator[MQTasks]:
    memory = request.param == "memory"
    url = "memory://" if memory else request.getfixturevalue(f"{request.param}_url")
    with MQTasks(settings=Settings.load(environ={}, url=url)) as made:
        yield made


def test_w10_async_and_plain_steps_are_done_once_over_attempts(app: MQTasks):
    called: list[tuple[str, int]] = []
    loop_threads: set[int] = set()

    async def ask(name: str) -> list[str]:
        called.append((name, current_context().epoch))
        loop_threads.add(threading.get_ident())
        await asyncio.sleep(0)
        return [name]

    def work(name: str) -> str:
        called.append((name, current_context().epoch))
        assert threading.get_ident() not in loop_threads, "it would block the event loop"
        return name

    @app.task(max_retry_times=1, retry_interval=0.0)
    async def journey() -> list[object]:
        context = current_context()
        first = await context.astep("ask", ask, "one")
        both = await asyncio.gather(
            context.astep("left", ask, "left"), context.astep("right", work, "right")
        )
        if context.epoch == 1:
            raise ConnectionError("after three steps")
        return [first, *both, await context.astep("last", work, "last")]

    with Scheduler(app.service), TaskRunner("r", app.service, registry=app.registry):
        handle = journey.enqueue()
        assert handle.result(DEADLINE) == [["one"], ["left"], "right", "last"]
    assert sorted(called) == [("last", 2), ("left", 1), ("one", 1), ("right", 1)]
    steps = handle.steps()
    assert [step.number for step in steps] == [1, 2, 3, 4]
    assert {step.name: step.epoch for step in steps} == {"ask": 1, "left": 1, "right": 1, "last": 2}


def test_w10_g3_an_async_executor_that_lost_its_task_stores_no_step(app: MQTasks):
    begun, lost = threading.Event(), threading.Event()
    said: list[BaseException] = []
    ended = threading.Event()

    async def slow() -> int:
        begun.set()
        assert await asyncio.to_thread(lost.wait, DEADLINE)
        return 1

    @app.task
    async def journey() -> None:
        context = current_context()
        await context.astep("before", asyncio.sleep, 0)
        try:
            await context.astep("slow", slow)
        except BaseException as error:
            said.append(error)
            raise
        finally:
            ended.set()

    with Scheduler(app.service), TaskRunner("r", app.service, registry=app.registry):
        handle = journey.enqueue()
        assert begun.wait(DEADLINE)
        taken = app.service.allocate(handle.fetch(), "elsewhere")
        lost.set()
        assert ended.wait(DEADLINE)
        assert isinstance(said[0], InvalidTask | asyncio.CancelledError)
        assert [step.name for step in handle.steps()] == ["before"]
        task = handle.fetch()
        assert (task.status, task.runner, task.epoch) == (
            TaskStatus.RUNNING,
            "elsewhere",
            taken.epoch,
        )
