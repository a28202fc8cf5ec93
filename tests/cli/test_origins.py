"""Which database a command works on, who said so, and variables that have no effect."""

from __future__ import annotations

import subprocess
import sys

import pytest

FIXED = """
from mqtasks import MQTasks

app = MQTasks("sqlite:///code.db", namespace="shop")

@app.task
def add(a: int, b: int) -> int:
    return a + b
"""
FREE = FIXED.replace('"sqlite:///code.db", namespace="shop"', "")
SECRET = "s3cret-word"


@pytest.fixture
def module(tmp_path):
    """Write the module ``fixed`` or ``free``; both are forgotten at the end."""
    (tmp_path / "fixed.py").write_text(FIXED)
    (tmp_path / "free.py").write_text(FREE)
    yield
    for name in ("fixed", "free"):
        found = sys.modules.pop(name, None)
        if found is not None:
            found.app.close()


pytestmark = pytest.mark.usefixtures("module")


def warned(ran):
    return [
        line.split(": ", 1)[1] for line in ran.err.splitlines() if "WARNING mqtasks.cli" in line
    ]


@pytest.mark.parametrize("command", ["worker --check fixed:app", "enqueue fixed:app add 1 2"])
def test_a_variable_that_the_code_overrides_is_named(mqtasks, monkeypatch, command):
    mqtasks("--url", "sqlite:///code.db", "migrate", "up")
    monkeypatch.setenv("MQTASKS_URL", f"mysql://me:{SECRET}@h/x")
    monkeypatch.setenv("MQTASKS_REDIS", "redis://h/0")  # the code says nothing of it
    ran = mqtasks(*command.split())
    assert ran.code == 0
    (line,) = warned(ran)
    assert line == (
        "MQTASKS_URL=mysql://me:***@h/x is set and not used: the app's code says"
        " url=sqlite:///code.db; leave it out of the code to let the variable decide"
    )
    assert SECRET not in ran.out + ran.err


def test_nothing_is_said_of_variables_that_make_no_difference(mqtasks, monkeypatch):
    monkeypatch.setenv("MQTASKS_URL", "sqlite:///code.db")
    monkeypatch.setenv("MQTASKS_NAMESPACE", "other")
    assert warned(mqtasks("enqueue", "fixed:app", "add", "1", "2", "--namespace", "third")) == []
    assert warned(mqtasks("enqueue", "free:app", "add", "1", "2")) == []


def test_settings_given_as_a_whole_leave_every_variable_unused(mqtasks, monkeypatch, tmp_path):
    made = 'MQTasks(settings=Settings(url="sqlite:///code.db"))'
    whole = FREE.replace("MQTasks()", made)
    (tmp_path / "fixed.py").write_text(f"from mqtasks.config import Settings\n{whole}")
    monkeypatch.setenv("MQTASKS_HINT_KEY", SECRET)
    monkeypatch.setenv("MQTASKS_PARALLELISM", "many")
    ran = mqtasks("enqueue", "fixed:app", "add", "1", "2")
    assert [line.split(" is set")[0] for line in warned(ran)] == [
        "MQTASKS_PARALLELISM=many",
        "MQTASKS_HINT_KEY=***",
    ]
    assert SECRET not in ran.err


def test_a_check_prints_where_tasks_live_and_who_said_so(mqtasks, monkeypatch, tmp_path):
    mqtasks("--url", "sqlite:///code.db", "migrate", "up")
    mqtasks("migrate", "up")
    (tmp_path / "mqtasks.toml").write_text(f'redis = "redis://:{SECRET}@h/0"\n')
    assert mqtasks("worker", "--check", "fixed:app").out.splitlines() == [
        "settings, app, database and schema are fine",
        "url: sqlite:///code.db (the app's code)",
        f"redis: redis://:***@h/0 ({tmp_path}/mqtasks.toml)",
        "executors: add",
    ]
    monkeypatch.setenv("MQTASKS_REDIS", "none")
    assert mqtasks("scheduler", "--check").out.splitlines()[1:] == [
        "url: sqlite:///mqtasks.db (default)",
        "redis: none (MQTASKS_REDIS)",
    ]
    ran = mqtasks("worker", "--check", "fixed:app", "--url", "sqlite:///mqtasks.db")
    assert "url: sqlite:///mqtasks.db (--url)" in ran.out.splitlines()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("command", "origin"),
    [
        ("worker fixed:app", "code.db (the app's code)"),
        ("dev fixed:app", "code.db (the app's code)"),
        ("scheduler", "var.db (MQTASKS_URL)"),
    ],
)
def test_a_start_logs_where_tasks_live(monkeypatch, command, origin):
    monkeypatch.setenv("MQTASKS_URL", "sqlite:///var.db")
    with subprocess.Popen(
        [sys.executable, "-m", "mqtasks", *command.split()], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "url: " in line:
                break
        process.terminate()
    assert lines[-1].endswith(f"INFO mqtasks.cli: url: sqlite:///{origin}; redis: none (default)\n")
    unused = [line for line in lines if "MQTASKS_URL=sqlite:///var.db is set and not used" in line]
    assert len(unused) == (command != "scheduler")
