"""The Flask example: tasks created by requests, executed by a real runner."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("flask")

import flask

from mqtasks import (
    ConfigError,
    MQTasks,
    RunnerOptions,
    Scheduler,
    SchedulerOptions,
    TaskRunner,
)
from mqtasks.integrations.flask import FlaskContext, MQTasksFlask, get_app
from mqtasks.testing import manual

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "flask_shop" / "shop.py"


@pytest.fixture
def shop():
    spec = importlib.util.spec_from_file_location("flask_shop", SHOP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    module.tasks.close()


def test_a_request_creates_a_task_that_a_runner_executes(shop, sqlite_url):
    client = shop.create(sqlite_url).test_client()
    placed = client.post("/orders/7")
    assert (placed.status_code, placed.json) == (202, {"task": "ship-7"})
    assert client.post("/orders/7").json == placed.json
    assert client.get("/backlog").json == {"tasks": 1}
    assert shop.tasks.settings.url == sqlite_url

    service, settings = shop.tasks.service, shop.tasks.settings
    scheduler = Scheduler(service, SchedulerOptions.from_settings(settings))
    runner = TaskRunner("r", service, RunnerOptions.from_settings(settings), shop.tasks.registry)
    scheduler.start()
    runner.start()
    try:
        said = shop.ship.options(id="ship-7").enqueue(7).result(30)
    finally:
        runner.stop()
        scheduler.stop()
    assert said == "order 7 is on its way from Berlin"
    assert shop.shipped == [7]


def test_a_flask_app_without_the_extension_is_told_so():
    with flask.Flask("bare").app_context(), pytest.raises(ConfigError, match="init_app"):
        get_app()


def test_each_execution_has_an_application_context_of_its_own():
    tasks, web = MQTasks("memory://"), flask.Flask("shop")
    MQTasksFlask(tasks, web)
    seen: list[Any] = []
    web.teardown_appcontext(lambda error: seen.append(type(error)))

    def note() -> None:
        seen.append((flask.current_app.name, "left" in flask.g))
        flask.g.left = True

    @tasks.task
    def plain() -> None:
        note()

    @tasks.task
    async def coroutine() -> None:
        await asyncio.sleep(0)
        note()

    @tasks.task
    def fails() -> None:
        raise LookupError

    with manual(tasks) as tester:
        for task in (plain, plain, coroutine, fails):
            task.enqueue()
        tester.drain()
    inside = [("shop", False), type(None)]
    assert seen == [*inside, *inside, *inside, LookupError]
    with pytest.raises(RuntimeError, match="context"):
        assert flask.current_app.name


def test_without_a_flask_app_no_context_is_pushed():
    bare: Any = SimpleNamespace()

    async def call(_context):
        return flask.has_app_context()

    assert FlaskContext().execute(lambda _context: flask.has_app_context(), bare) is False
    assert asyncio.run(FlaskContext().aexecute(call, bare)) is False


def test_every_setting_may_stand_in_the_configuration():
    tasks, web = MQTasks("memory://"), flask.Flask("shop")
    web.config.update(MQTASKS_PARALLELISM=3, MQTASKS_NAMESPACE="shop", MQTASKS_REDIS=None)
    MQTasksFlask(tasks, web)
    settings = tasks.settings
    assert (settings.parallelism, settings.namespace, settings.redis) == (3, "shop", None)
    assert settings.url == "memory://"


def program(url, *arguments):
    """Return command and surroundings of ``flask --app shop:create mqtasks …``."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MQTASKS_", "FLASK_"))}
    environment["PYTHONPATH"] = str(ROOT)
    factory = f"shop:create({url!r})"
    command = [sys.executable, "-m", "flask", "--app", factory, "mqtasks", *arguments]
    return command, {"cwd": SHOP.parent, "env": environment}


def test_flasks_command_runs_a_worker_and_all_else_with_its_settings(shop, sqlite_url, tmp_path):
    client = shop.create(sqlite_url).test_client()
    assert client.post("/orders/7").status_code == 202
    command, surroundings = program(sqlite_url, "worker", "--with-scheduler")
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(command, stdout=log, stderr=log, **surroundings)
        try:
            result = shop.tasks.handle("ship-7").result(40)
        finally:
            worker.send_signal(signal.SIGTERM)
            ended = worker.wait(40)
    assert (result, ended) == ("order 7 is on its way from Berlin", 0)
    command, surroundings = program(sqlite_url, "tasks", "list", "-o", "json")
    listed = subprocess.run(command, capture_output=True, text=True, check=True, **surroundings)
    assert [row["id"] for row in json.loads(listed.stdout)] == ["ship-7"]


def test_flasks_command_tells_what_is_wrong(tmp_path):
    command, surroundings = program("nonsense://", "tasks", "list")
    ran = subprocess.run(command, capture_output=True, text=True, check=False, **surroundings)
    assert ran.returncode != 0
    assert "nonsense" in ran.stderr
