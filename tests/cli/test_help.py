"""Help is complete and cheap; every option says its variable."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

from mqtasks import __version__
from mqtasks.cli.lazy import LazyGroup
from mqtasks.cli.main import cli
from mqtasks.config import OPTIONS

HEAVY = {"redis", "rq", "rich", "pymysql", "croniter", "sqlite3", "msgspec", "asyncio", "tenacity"}


def commands(command=cli, parents=("mqtasks",)):
    """Yield (path, command) of every command below the root."""
    yield parents, command
    if isinstance(command, click.Group):
        ctx = click.Context(command, info_name=parents[-1])
        for name in command.list_commands(ctx):
            yield from commands(command.get_command(ctx, name), (*parents, name))


ALL = list(commands())


def python(code):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    return result.stdout


def test_help_imports_nothing_heavy():
    """An import costs the same milliseconds everywhere; what is imported is what can be tested."""
    code = (
        "import sys; before = set(sys.modules); from mqtasks.cli.main import run\n"
        "run(['--help']); print(*(set(sys.modules) - before))"
    )
    modules = python(code).splitlines()[-1].split()
    assert HEAVY.isdisjoint(modules)
    assert [name for name in modules if name.startswith("mqtasks")] != []
    bare = python(
        "import sys; before = set(sys.modules); import click\nprint(len(set(sys.modules) - before))"
    )
    assert len(modules) < int(bare) + 30


@pytest.mark.parametrize("group", [item for _, item in ALL if isinstance(item, LazyGroup)])
def test_summaries_are_the_commands_own(group):
    ctx = click.Context(group, info_name="x")
    for name, (_, summary) in group.lazy.items():
        command = group.get_command(ctx, name)
        assert command.help.split("\n\n")[0].split("\n")[0] == summary


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_option_shows_its_variable(path, command, mqtasks):
    ran = mqtasks(*path[1:], "--help")
    assert (ran.code, ran.err) == (0, "")
    shown = " ".join(ran.out.split())
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            if parameter.name in {"help", "version"}:
                continue
            variable = parameter.envvar or "_".join([*path, parameter.name]).upper()
            assert f"env var: {variable}" in shown.replace("- ", "-")


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_command_takes_the_global_options(path, command):
    if isinstance(command, click.Group) and len(path) > 1:
        return
    names = {parameter.name for parameter in command.params}
    assert {"url", "redis", "namespace", "config", "log_level", "log_format"} <= names


def test_options_that_are_settings_are_settings():
    known = {option.variable for option in OPTIONS}
    for _, command in ALL:
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.envvar:
                assert parameter.envvar in {*known, "MQTASKS_CONFIG"}


def test_a_variable_sets_an_option_and_the_command_line_wins(mqtasks, database, monkeypatch):
    mqtasks("migrate", "up")
    monkeypatch.setenv("MQTASKS_TASKS_LIST_OUTPUT", "json")
    assert mqtasks("tasks", "list").out == "[]\n"
    assert mqtasks("tasks", "list", "-o", "jsonl").out == ""


def test_no_command_shows_the_help(mqtasks):
    assert mqtasks()[0] == 0
    assert mqtasks().out == mqtasks("--help").out
    assert "list" in mqtasks("tasks").out


def test_version(mqtasks):
    assert mqtasks("--version").out == f"mqtasks, version {__version__}\n"


def test_a_reader_that_leaves_early_is_no_traceback(tmp_path):
    """As in ``mqtasks tasks list | head -1``."""
    command = f"{sys.executable} -m mqtasks --url sqlite:///{tmp_path}/t.db tasks list -o json"
    subprocess.run([*command.split()[:-4], "migrate", "up"], check=True, capture_output=True)
    script = f"set -o pipefail; {command} | true; echo code ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("enqueue", "mqtasks enqueue [OPTIONS] [MODULE:APP TASK [ARG]...]"),
        ("cron add", "mqtasks cron add [OPTIONS] ID EXPRESSION [MODULE:APP TASK [ARG]...]"),
    ],
)
def test_usage_says_what_goes_together(mqtasks, command, usage):
    assert f"Usage: {usage}\n" in mqtasks(*command.split(), "--help").out


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_brackets_of_the_usage_line_are_balanced(path, command, mqtasks):
    usage = mqtasks(*path[1:], "--help").out.split("\n\n")[0]
    assert usage.count("[") == usage.count("]")
