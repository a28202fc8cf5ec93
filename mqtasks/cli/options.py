"""Options: each has an environment variable, and says so in the help.

Options of a command have a variable named after its path, ``MQTASKS_TASKS_LIST_LIMIT``. Options
that are *settings* have the variable of the setting, ``MQTASKS_URL``, whatever the command: here
they are only noted if they stand on the command line, since `Settings.load` reads the rest.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., Any])

option: Final = functools.partial(click.option, show_envvar=True)
"""As ``click.option``; the variable comes from the command's path."""

CONTEXT_SETTINGS: Final[dict[str, Any]] = {
    "auto_envvar_prefix": "MQTASKS",
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}

_GIVEN: Final = "mqtasks.cli.settings"


def setting(
    flag: str, meaning: str, name: str | None = None, **attributes: Any
) -> Callable[[F], F]:
    """Add an option for a setting, by default of the flag's name; it is checked with all others."""
    name = name or flag.lstrip("-").replace("-", "_")

    def keep(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            given_settings(ctx)[name] = value

    return click.option(
        flag,
        name,
        envvar=f"MQTASKS_{name.upper()}",
        show_envvar=True,
        expose_value=False,
        callback=keep,
        help=meaning,
        **attributes,
    )


def _keep_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    # By its variable the file also reaches an app that loads its own settings, and child processes.
    if value and ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE:
        path = os.path.abspath(value)  # noqa: PTH100 - env holds text
        if not os.path.isfile(path):  # noqa: PTH113 - pathlib is slow to import
            raise click.UsageError(f"--config={value!r}: no such file; looked for {path}")
        os.environ["MQTASKS_CONFIG"] = path


def global_options(*, hidden: bool) -> Callable[[F], F]:
    """Add the settings that every command takes; the innermost mention on the line wins.

    Only ``mqtasks --help`` lists them, but they may stand behind any command, where people type
    them.
    """
    decorators = (
        setting(
            "--url",
            "Where tasks live: mysql://user:password@host/database or sqlite:///file.",
            metavar="URL",
            hidden=hidden,
        ),
        setting(
            "--redis",
            "Carries hints and heartbeats: redis://host:6379/0. Without: polling.",
            metavar="URL",
            hidden=hidden,
        ),
        setting(
            "--namespace",
            "Separates installations that share one Redis.",
            metavar="NAME",
            hidden=hidden,
        ),
        click.option(
            "--config",
            metavar="FILE",
            envvar="MQTASKS_CONFIG",
            show_envvar=True,
            expose_value=False,
            callback=_keep_config,
            hidden=hidden,
            help="TOML file; by default mqtasks.toml, or [tool.mqtasks] of pyproject.toml.",
        ),
        setting(
            "--log-level",
            "debug, info, warning or error; debug shows tracebacks, too.",
            metavar="LEVEL",
            hidden=hidden,
        ),
        setting("--log-format", "text or json, on stderr.", metavar="FORMAT", hidden=hidden),
    )

    def decorate(command: F) -> F:
        for add in reversed(decorators):
            command = add(command)
        return command

    return decorate


def given_settings(ctx: click.Context | None = None) -> dict[str, Any]:
    """Return the settings on the command line so far, by name."""
    root = (ctx or click.get_current_context()).find_root()
    values: dict[str, Any] = root.meta.setdefault(_GIVEN, {})
    return values
