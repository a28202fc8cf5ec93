"""docker-compose.yml starts what it says, with commands that the command line understands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from mqtasks.cli.main import cli

ROOT = Path(__file__).resolve().parent.parent
OURS = ("migrate", "scheduler", "worker")
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)["services"]
    return loaded


def filled_in(text: str) -> str:
    """Return `text` with each variable replaced, as compose does with a complete .env."""
    return VARIABLE.sub(lambda match: match[3] if match[2] == "-" else "example:app", text)


def parse(words: list[str]) -> str:
    """Parse a command line of mqtasks without running it; return the name of the command.

    Raises:
        click.UsageError: the command, an option or an argument is unknown or missing.
    """
    ctx = cli.make_context("mqtasks", list(words))
    names = []
    while isinstance(ctx.command, click.Group):
        name, command, rest = ctx.command.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert command is not None
        ctx = command.make_context(name, rest, parent=ctx)
        names.append(str(name))
    return " ".join(names)


@pytest.mark.parametrize(
    ("service", "path"),
    [("migrate", "migrate up"), ("scheduler", "scheduler"), ("worker", "worker")],
)
def test_commands_are_valid(services, service, path):
    words = [filled_in(word) for word in services[service]["command"]]
    assert parse(words) == path


@pytest.mark.parametrize("words", [["migrate", "sideways"], ["worker"], ["scheduler", "--bogus"]])
def test_invalid_commands_are_recognised(words):
    with pytest.raises(click.UsageError):
        parse(words)


@pytest.mark.parametrize("service", OURS)
def test_settings_are_ones_that_the_command_line_reads(services, service):
    known = {
        f"MQTASKS_{param.name.upper()}"
        for param in cli.params
        if isinstance(param, click.Option) and param.name
    }
    environment = services[service]["environment"]
    assert set(environment) == {"MQTASKS_URL", "MQTASKS_REDIS"}
    assert set(environment) <= known


def test_settings_point_at_the_services(services):
    environment = services["worker"]["environment"]
    assert "@mysql:3306/mqtasks" in environment["MQTASKS_URL"]
    assert environment["MQTASKS_REDIS"] == "redis://redis:6379/0"
    assert services["mysql"]["environment"]["MYSQL_DATABASE"] == "mqtasks"
    assert services["mysql"]["environment"]["MYSQL_USER"] == "mqtasks"


def test_databases_have_health_checks(services):
    assert "mysqladmin ping" in " ".join(services["mysql"]["healthcheck"]["test"])
    assert services["redis"]["healthcheck"]["test"] == ["CMD", "redis-cli", "ping"]


def test_two_schedulers_and_two_workers_start_after_the_migration(services):
    for name in ("scheduler", "worker"):
        assert services[name]["deploy"]["replicas"] == 2
        after = services[name]["depends_on"]["migrate"]["condition"]
        assert after == "service_completed_successfully"
    assert services["migrate"]["depends_on"]["mysql"]["condition"] == "service_healthy"
    assert services["migrate"]["restart"] == "no"


def test_secrets_come_from_the_environment(services):
    """A password has no default: compose refuses to start without it."""
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name:
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), name
        assert not re.search(
            r"://\w+:(?!\$\{)", service.get("environment", {}).get("MQTASKS_URL", "")
        )


def test_variables_are_documented(services):
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    documented = set(re.findall(r"^(\w+)=", example, re.MULTILINE))
    used = {match[0] for match in VARIABLE.findall(yaml.safe_dump(services, width=10_000))}
    assert used == documented
