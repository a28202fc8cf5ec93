"""``mqtasks cron edit|pause|resume|trigger|backfill|show|sync``: changes while it runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from mqtasks.cli.exits import ExitCode
from mqtasks.cli.options import global_options, option
from mqtasks.cli.output import output_option, print_record, print_written
from mqtasks.cli.session import open_service

F = TypeVar("F", bound=Callable[..., Any])

_ID = click.argument("cron_id", metavar="ID")
_POLICY: Final = (
    option("--misfire", type=click.Choice(["skip", "once", "all"]), help="Of missed firings."),
    option("--misfire-limit", type=int, metavar="N", help="At most so many under all."),
    option("--misfire-window", type=float, metavar="SECONDS", help="None older than that."),
    option(
        "--overlap",
        type=click.Choice(["allow", "skip", "queue_one", "cancel_running"]),
        help="While a task of an earlier firing has not ended.",
    ),
    option("--concurrency", type=int, metavar="N", help="How many may run at once."),
    option("--jitter", type=float, metavar="SECONDS", help="Tasks are due up to that much later."),
    option(
        "--start-at", metavar="TIME", help="No firing before: 2026-05-01T12:00, by default UTC."
    ),
    option("--end-at", metavar="TIME", help="No firing after it."),
    option(
        "--pause-after-failures", type=int, metavar="N", help="Pause after N failures in a row."
    ),
)


def policy_options(command: F) -> F:
    """Add the options that say what a definition does beside its schedule."""
    for decorate in reversed(_POLICY):
        command = decorate(command)
    return command


def given_policy(policy: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a policy that were typed."""
    given = {name: value for name, value in policy.items() if value is not None}
    for name in ("start_at", "end_at"):
        if name in given:
            given[name] = _moment(name, given[name])
    return given


@click.command("edit")
@_ID
@option("--cron", "cron_expr", metavar="EXPRESSION", help="Another schedule.")
@option("--timezone", metavar="NAME", help="IANA time zone.")
@option("--payload", metavar="TEXT|@FILE|-", help="Another context of its tasks.")
@option("--version", type=int, metavar="N", help="Only if nobody edited it since this version.")
@policy_options
@output_option
@global_options(hidden=True)
def edit(
    *,
    cron_id: str,
    cron_expr: str | None,
    timezone: str | None,
    payload: str | None,
    version: int | None,
    output: str,
    **policy: Any,
) -> None:
    """Change a cron task; what is not given stays."""
    from mqtasks.cli.rows import cron_record
    from mqtasks.cli.targets import payload_argument

    changes = given_policy(policy)
    if not changes and (cron_expr, timezone, payload) == (None, None, None):
        raise click.UsageError("say what to change: --cron, --timezone, --payload, or a policy")
    context = None if payload is None else payload_argument(payload)
    with open_service() as service:
        edited = service.crons.edit(
            cron_id,
            version=version,
            cron_expr=cron_expr,
            timezone=timezone,
            context=context,
            **changes,
        )
    print_written(
        [cron_record(edited, [])],
        output,
        lambda row: f"cron task {row['id']} edited, now version {row['version']}",
    )


@click.command("pause")
@_ID
@option("--reason", default="", metavar="TEXT", help="Why, for those who wonder later.")
@output_option
@global_options(hidden=True)
def pause(*, cron_id: str, reason: str, output: str) -> int:
    """Let a cron task fire no more until it is resumed. Exits with 1 if it was paused before."""
    with open_service() as service:
        changed = service.crons.pause(cron_id, reason)
    return _changed(cron_id, output, "paused" if changed else "was paused before", changed=changed)


@click.command("resume")
@_ID
@output_option
@global_options(hidden=True)
def resume(*, cron_id: str, output: str) -> int:
    """Let a paused cron task fire again. Exits with 1 if it was not paused."""
    with open_service() as service:
        changed = service.crons.resume(cron_id)
    return _changed(cron_id, output, "resumed" if changed else "was not paused", changed=changed)


@click.command("trigger")
@_ID
@output_option
@global_options(hidden=True)
def trigger(*, cron_id: str, output: str) -> None:
    """Make a task of a cron task now, beside its schedule, also if it is paused."""
    with open_service() as service:
        task = service.crons.trigger(cron_id)
    row = {"id": cron_id, "task": task}
    print_written([row], output, lambda row: f"cron task {row['id']} triggered: task {row['task']}")


@click.command("backfill")
@_ID
@option("--since", required=True, metavar="TIME", help="2026-05-01T12:00, by default UTC.")
@option("--until", required=True, metavar="TIME", help="Not after now; both are included.")
@option("--dry-run", is_flag=True, help="Only count.")
@output_option
@global_options(hidden=True)
def backfill(*, cron_id: str, since: str, until: str, dry_run: bool, output: str) -> None:
    """Make the tasks of a range of time that were not made. Safe to run again."""
    first, last = _moment("since", since), _moment("until", until)
    with open_service() as service:
        done = service.crons.backfill(cron_id, first, last, dry_run=dry_run)
    row = {"id": cron_id, "moments": len(done.moments), "fired": done.fired, "dry_run": dry_run}
    print_written(
        [row],
        output,
        lambda row: (
            f"{row['moments']} firings would be made up for"
            if dry_run
            else f"{row['fired']} of {row['moments']} firings made up for"
        ),
    )


@click.command("show")
@_ID
@option(
    "--firings",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    help="How many of the latest firings.",
)
@output_option
@global_options(hidden=True)
def show(*, cron_id: str, firings: int, output: str) -> None:
    """Show all of a cron task, with its latest firings: made, skipped and missed ones."""
    from mqtasks.cli.rows import cron_record

    with open_service() as service:
        found = service.crons.get(cron_id)
        latest = service.crons.firings(cron_id, firings)
    print_record(cron_record(found, latest), output)


@click.command("sync")
@click.argument("app", metavar="MODULE:APP")
@option("--remove", is_flag=True, help="Delete what the app declared earlier and does no more.")
@option("--dry-run", is_flag=True, help="Only say what would be done.")
@output_option
@global_options(hidden=True)
def sync(*, app: str, remove: bool, dry_run: bool, output: str) -> None:
    """Bring the cron tasks that an app declares into storage.

    Workers do it when they start, but never remove anything.
    """
    from mqtasks.cli.apps import load_app

    loaded = load_app(app)
    with open_service(loaded, create=not dry_run):
        done = loaded.crons.sync(remove=remove, dry_run=dry_run)
    loaded.close()
    gone = "removed" if remove else "declared no more"
    rows = [
        {"id": cron_id, "is": what, "dry_run": dry_run}
        for what, ids in (
            ("added", done.added),
            ("changed", done.changed),
            ("unchanged", done.unchanged),
            (gone, done.removed),
            ("left alone: added by somebody else", done.conflicts),
        )
        for cron_id in ids
    ]
    print_written(rows, output, lambda row: f"cron task {row['id']}: {row['is']}")


def _changed(cron_id: str, output: str, said: str, *, changed: bool) -> int:
    row = {"id": cron_id, "changed": changed}
    print_written([row], output, lambda row: f"cron task {row['id']} {said}")
    return ExitCode.OK if changed else ExitCode.FAILURE


def _moment(name: str, text: str) -> int:
    """Return an ISO 8601 time in unix ms; one without an offset is UTC. Raises UsageError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        flag = name.replace("_", "-")
        raise click.UsageError(
            f"--{flag}={text!r}: write the time as 2026-10-24T12:00 or 2026-10-24T12:00+02:00"
        ) from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


COMMANDS: Final = (edit, pause, resume, trigger, backfill, show, sync)
