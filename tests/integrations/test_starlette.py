"""The FastAPI example: tasks created by requests, executed by a real runner."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from starlette.applications import Starlette
from starlette.requests import Request

from mqtasks import (
    ConfigError,
    MQTasks,
    RunnerOptions,
    Scheduler,
    SchedulerOptions,
    TaskHandle,
    TaskRunner,
)
from mqtasks.config import Settings
from mqtasks.integrations.starlette import get_app, lifespan

SHOP = Path(__file__).parents[2] / "examples" / "fastapi_shop" / "shop.py"


@pytest.fixture
def shop(sqlite_url):
    spec = importlib.util.spec_from_file_location("fastapi_shop", SHOP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.tasks.configure(Settings.load(url=sqlite_url, environ={}))
    yield module
    module.tasks.close()


async def talk(server, *requests):
    import httpx

    async with (
        server.router.lifespan_context(server),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=server), base_url="http://shop"
        ) as client,
    ):
        return [await client.request(*request) for request in requests]


def test_a_request_creates_a_task_that_a_runner_executes(shop):
    import asyncio

    orders = [("POST", "/orders/7"), ("POST", "/orders/7"), ("GET", "/backlog")]
    placed, again, backlog = asyncio.run(talk(shop.api, *orders))
    assert (placed.status_code, placed.json()) == (202, {"task": "ship-7"})
    assert again.json() == placed.json()
    assert backlog.json() == {"tasks": 1}
    assert shop.tasks._runtime is None, "the shutdown has closed the connection"

    service, settings = shop.tasks.service, shop.tasks.settings
    scheduler = Scheduler(service, SchedulerOptions.from_settings(settings))
    runner = TaskRunner("r", service, RunnerOptions.from_settings(settings), shop.tasks.registry)
    handle: TaskHandle[str] = shop.ship.options(id="ship-7").enqueue(7)
    assert not handle.is_new
    scheduler.start()
    runner.start()
    try:
        assert handle.result(30) == "order 7 is on its way"
    finally:
        runner.stop()
        scheduler.stop()
    assert shop.shipped == [7]


def test_a_lifespan_of_ones_own_runs_inside_and_its_error_still_closes(sqlite_url):
    import asyncio

    tasks = MQTasks(settings=Settings.load(url=sqlite_url, environ={}))
    seen = []

    @contextlib.asynccontextmanager
    async def inner(server):
        seen.append(server.state.mqtasks)
        yield {"own": 1}

    async def run():
        server = Starlette()
        async with lifespan(tasks, inner)(server) as state:
            assert state == {"own": 1}
            assert await get_app(Request({"type": "http", "app": server})) is tasks
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(run())
    assert seen == [tasks]
    assert tasks._runtime is None


def test_a_server_without_the_lifespan_is_told_so():
    import asyncio

    request = Request({"type": "http", "app": Starlette()})
    with pytest.raises(ConfigError, match="lifespan="):
        asyncio.run(get_app(request))
