"""``mqtasks cron``: definitions that create tasks on a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mqtasks.cli.cron_changes import COMMANDS, given_policy, policy_options
from mqtasks.cli.exits import ExitCode, Failed
from mqtasks.cli.lazy import LazyGroup
from mqtasks.cli.options import global_options, option
from mqtasks.cli.output import output_option, print_rows, print_written
from mqtasks.cli.session import open_service
from mqtasks.cli.targets import find_target, target_arguments

if TYPE_CHECKING:
    from mqtasks.model import CronPolicy, TaskMetadata
    from mqtasks.service import TaskService

_COLUMNS = ("id", "cron", "timezone", "executor", "next_time", "fired", "paused")


@click.group(cls=LazyGroup)
def cron() -> None:
    """List, add, change and remove cron tasks."""


@cron.command("list")
@output_option
@global_options(hidden=True)
def list_crons(*, output: str) -> None:
    """List cron tasks."""
    from mqtasks.cli.rows import cron_row

    with open_service() as service:
        rows = [cron_row(cron) for cron in service.query_cron_task()]
    print_rows(rows, _COLUMNS, output, "no cron tasks")


@cron.command("preview")
@click.argument("expression")
@option(
    "--tz",
    "--timezone",
    "timezone",
    default="UTC",
    show_default=True,
    metavar="NAME",
    help="IANA time zone.",
)
@option(
    "--count",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="How many firings.",
)
@option("--after", metavar="TIME", help="Begin there, not now: 2026-10-24T12:00, by default UTC.")
@output_option
@global_options(hidden=True)
def preview(*, expression: str, timezone: str, count: int, after: str | None, output: str) -> None:
    """Show in words and in times when EXPRESSION fires.

    \b
    mqtasks cron preview '30 2 * * *' --tz Europe/Berlin --count 5

    Needs no database. Days on which clocks change are marked.
    """  # noqa: D301 - \b keeps click from joining the lines
    from mqtasks.cli.cron_preview import print_preview

    print_preview(expression, timezone, count, after, output)


@cron.command("add")
@click.argument("cron_id", metavar="ID")
@click.argument("expression")
@target_arguments
@option("--timezone", default="UTC", show_default=True, metavar="NAME", help="IANA time zone.")
@policy_options
@output_option
@global_options(hidden=True)
def add(
    *,
    cron_id: str,
    expression: str,
    app: str | None,
    task: str | None,
    arguments: tuple[str, ...],
    executor: str | None,
    payload: str | None,
    timezone: str,
    output: str,
    **policy: Any,
) -> int:
    """Create a task by schedule: EXPRESSION has five fields, or six with seconds first.

    \b
    mqtasks cron add nightly '30 2 * * *' shop.tasks:app report --timezone Europe/Berlin
    mqtasks cron add tick '*/10 * * * * *' --executor 7

    Adding an ID that exists changes nothing and exits with 1; if what is stored differs from what
    is given, both are shown.
    """  # noqa: D301 - \b keeps click from joining the lines
    from mqtasks.model import TaskMetadata
    from mqtasks.model.cron_policy import DEFAULT_POLICY
    from mqtasks.service.crons import policy_from

    target = find_target(app, task, arguments, executor, payload)
    metadata = TaskMetadata(cron_id, target.executor, target.context, target.options)
    with open_service(target.app, create=True) as service:
        wanted = policy_from(DEFAULT_POLICY, given_policy(policy))
        added = service.create_cron_task(metadata, expression, timezone, wanted)
        differs = {} if added else _differences(service, metadata, expression, timezone, wanted)
    print_written(
        [{"id": cron_id, "is_new": added, "differs": differs}],
        output,
        lambda row: f"cron task {row['id']} {'added' if row['is_new'] else 'existed before'}",
    )
    if differs:
        shown = "; ".join(f"{name} is {old!r}, not {new!r}" for name, (old, new) in differs.items())
        raise Failed(
            f"cron task {cron_id!r} is not what was given: {shown}; to replace it, run mqtasks cron"
            " remove first"
        )
    return ExitCode.OK if added else ExitCode.FAILURE


def _differences(
    service: TaskService,
    metadata: TaskMetadata,
    expression: str,
    timezone: str,
    policy: CronPolicy,
) -> dict[str, tuple[Any, Any]]:
    """Return what is stored and what was given, by name, where they are not the same."""
    from msgspec import to_builtins

    from mqtasks.cli.rows import readable

    stored = service.storage.find_cron_task(metadata.id)
    if stored is None:
        return {}  # removed meanwhile
    old = stored.metadata
    pairs = {
        "cron": (stored.cron_expr, expression),
        "timezone": (stored.timezone, timezone),
        "executor": (old.executor, metadata.executor),
        "context": (readable(old.context), readable(metadata.context)),
        "options": (to_builtins(old.options), to_builtins(metadata.options)),
        "policy": (to_builtins(stored.policy), to_builtins(policy)),
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@cron.command("remove")
@click.argument("cron_id", metavar="ID")
@global_options(hidden=True)
def remove(*, cron_id: str) -> None:
    """Remove a cron task; tasks it has created stay."""
    with open_service() as service:
        removed = service.delete_cron_task(cron_id)
    if not removed:
        raise Failed(f"there is no cron task {cron_id!r}: mqtasks cron list shows them")
    click.echo(f"cron task {cron_id} removed")


for command in COMMANDS:
    cron.add_command(command)
