"""The ``mqtasks`` command: its root, and what happens to errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from mqtasks._version import __version__
from mqtasks.cli.exits import INTERRUPTED, ExitCode, code_of, line_of
from mqtasks.cli.lazy import LazyGroup
from mqtasks.cli.options import CONTEXT_SETTINGS, given_settings, global_options

_COMMANDS = {
    "dev": ("mqtasks.cli.dev:dev", "Run everything in one process, on SQLite."),
    "worker": ("mqtasks.cli.worker:worker", "Run the tasks of an app."),
    "scheduler": ("mqtasks.cli.scheduler:scheduler", "Allocate tasks to workers."),
    "migrate": ("mqtasks.cli.migrate:migrate", "Create and update the schema."),
    "enqueue": ("mqtasks.cli.enqueue:enqueue", "Create a task."),
    "tasks": ("mqtasks.cli.tasks:tasks", "List, show, edit, cancel and retry tasks."),
    "pause": ("mqtasks.cli.pauses:pause", "Hold back an executor, key, tenant or runner."),
    "resume": ("mqtasks.cli.pauses:resume", "Lift a pause."),
    "pauses": ("mqtasks.cli.pauses:pauses", "List what is paused."),
    "runners": ("mqtasks.cli.runners:runners", "Show runners."),
    "cron": ("mqtasks.cli.cron:cron", "List, add, change and remove cron tasks."),
    "demo": ("mqtasks.cli.demo:demo", "Watch the main job on real input."),
}

_EPILOG = """\b
Exit codes: 0 ok, 1 failure, 2 usage or import, 3 cannot connect, 4 nothing alive,
5 schema out of date. Settings: defaults < TOML file < MQTASKS_* < options.
"""


@click.group(
    cls=LazyGroup,
    lazy=_COMMANDS,
    context_settings=CONTEXT_SETTINGS,
    epilog=_EPILOG,
)
@global_options(hidden=False)
@click.version_option(__version__, prog_name="mqtasks")
def cli() -> None:
    """Durable tasks on MySQL or SQLite, with Redis for hints."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. Errors become one line on stderr."""
    arguments = sys.argv[1:] if arguments is None else arguments
    context: list[click.Context] = []
    try:
        with cli.make_context("mqtasks", list(arguments)) as ctx:
            context.append(ctx)
            answer = cli.invoke(ctx)
    except click.exceptions.Exit as request:
        return request.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("mqtasks: interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        return _usage(error)
    except BrokenPipeError:
        # Whoever read our output (`| head`) has gone; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILURE
    except Exception as error:  # noqa: BLE001 - the last place that can turn it into a clear line
        return _failed(error, context)
    return answer if isinstance(answer, int) else ExitCode.OK


def main() -> None:
    """Entry point of the ``mqtasks`` program."""
    sys.exit(run())


def _usage(error: click.ClickException) -> int:
    text = " ".join(error.format_message().split())
    ctx = getattr(error, "ctx", None)
    hint = f" (see: {ctx.command_path} --help)" if ctx is not None else ""
    click.echo(f"mqtasks: {text}{hint}", err=True)
    return ExitCode.USAGE


def _failed(error: Exception, context: list[click.Context]) -> int:
    from mqtasks.cli.secrets import scrub

    given = given_settings(context[0]) if context else {}
    level = given.get("log_level") or os.environ.get("MQTASKS_LOG_LEVEL", "")
    if level.lower() == "debug":
        import traceback

        click.echo(scrub("".join(traceback.format_exception(error))), err=True)
    click.echo(f"mqtasks: {scrub(line_of(error))}", err=True)
    return code_of(error)
