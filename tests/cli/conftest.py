"""Running the command in this process, in a folder and an environment of its own."""

from __future__ import annotations

import logging
import os
import sys
from typing import NamedTuple

import pytest

from mqtasks.cli import secrets
from mqtasks.cli.main import run

APP = """
from pathlib import Path
from mqtasks import MQTasks

app = MQTasks()

@app.task(max_retry_times=2)
def resize(path: Path, width: int = 100) -> str:
    return f"{path}@{width}"

@app.task(code=7)
def seven() -> int:
    return 7

@app.task
def fails() -> None:
    raise ValueError("no luck today")

not_an_app = 3
"""


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def own_world(tmp_path, monkeypatch):
    """An empty folder, no MQTASKS_* variables, and the loggers as they were."""
    for name in [*os.environ, "MQTASKS_CONFIG"]:
        if name.startswith("MQTASKS_"):
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(secrets, "_known", set())
    root = logging.getLogger()
    handlers, level = root.handlers.copy(), root.level
    yield
    root.handlers, root.level = handlers, level


@pytest.fixture
def mqtasks(capfd):
    """Run ``mqtasks ARGUMENTS`` and return exit code and output."""

    def call(*arguments):
        capfd.readouterr()
        code = run([str(item) for item in arguments])
        return Ran(int(code), *capfd.readouterr())

    return call


@pytest.fixture
def database(tmp_path, monkeypatch):
    """A file that MQTASKS_URL names."""
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    monkeypatch.setenv("MQTASKS_URL", url)
    return url


@pytest.fixture
def app_module(tmp_path, monkeypatch):
    """The module ``shop`` with the app ``shop:app``."""
    (tmp_path / "shop.py").write_text(APP)
    yield "shop:app"
    module = sys.modules.pop("shop", None)
    if module is not None:
        module.app.close()
