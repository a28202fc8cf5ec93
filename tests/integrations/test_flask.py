"""The Flask example: tasks created by requests, executed by a real runner."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("flask")

import flask

from mqtasks import (
    ConfigError,
    RunnerOptions,
    Scheduler,
    SchedulerOptions,
    TaskRunner,
)
from mqtasks.integrations.flask import get_app

SHOP = Path(__file__).parents[2] / "examples" / "flask_shop" / "shop.py"


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
        assert shop.ship.options(id="ship-7").enqueue(7).result(30) == "order 7 is on its way"
    finally:
        runner.stop()
        scheduler.stop()
    assert shop.shipped == [7]


def test_a_flask_app_without_the_extension_is_told_so():
    with flask.Flask("bare").app_context(), pytest.raises(ConfigError, match="init_app"):
        get_app()
