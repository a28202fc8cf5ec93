"""Acting on many tasks: the filters, the preview, and the progress."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from mqtasks.cli.exits import ExitCode
from mqtasks.cli.options import option
from mqtasks.cli.output import print_written

if TYPE_CHECKING:
    from mqtasks.conditions import Condition
    from mqtasks.service.control import Bulk

F = TypeVar("F", bound=Callable[..., Any])


class Action(Protocol):
    """`Control.cancel_where` or `Control.requeue_where`."""

    def __call__(
        self,
        *conditions: Condition,
        dry_run: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Bulk:
        """Act on what the conditions select."""
        ...


def filter_options(command: F) -> F:
    """Add the options that select many tasks; `selected` takes their values."""
    for decorate in (
        option("--yes", is_flag=True, help="Do not ask before acting on many."),
        option("--dry-run", is_flag=True, help="Only say how many there are."),
        option("--limit", type=click.IntRange(min=1), help="At most this many, the oldest first."),
        option("--before", metavar="MOMENT", help="Created before this moment (ISO 8601, UTC)."),
        option("--parent", metavar="ID", help="Only children of this metadata id."),
        option("--executor", metavar="CODE", help="Only this executor: a name, or a number."),
        option("--all", "everything", is_flag=True, help="Every task to which it applies."),
    ):
        command = decorate(command)
    return command


def selected(
    *,
    everything: bool,
    executor: str | None,
    parent: str | None,
    before: str | None,
    limit: int | None,
) -> list[Condition]:
    """Return the conditions that were typed; empty if none was."""
    from mqtasks.cli.targets import executor_argument
    from mqtasks.conditions import where

    conditions: list[Condition] = []
    if everything:
        conditions.append(where.everything())
    if executor is not None:
        conditions.append(where.executor == executor_argument(executor))
    if parent is not None:
        conditions.append(where.parent_task_id == parent)
    if before is not None:
        conditions.append(where.created_at < _moment(before))
    if limit is not None and conditions:
        conditions.append(where.limit(limit))
    return conditions


def act_on_many(
    action: Action,
    conditions: list[Condition],
    output: str,
    *,
    done: str,
    dry_run: bool,
    yes: bool,
) -> int:
    """Count, ask, act and report. Exits with 1 if something had moved on meanwhile."""
    if not (dry_run or yes):
        found = action(*conditions, dry_run=True).matched
        if found:
            click.confirm(f"{found} tasks will be {done}. Go on?", abort=True, err=True)
    report = action(*conditions, dry_run=dry_run, progress=_progress())
    row = {
        "matched": report.matched,
        "changed": report.changed,
        "dry_run": dry_run,
        "examples": list(report.examples),
    }
    would = f"{report.matched} tasks would be {done}"
    did = f"{report.changed} of {report.matched} tasks {done}"
    print_written([row], output, lambda _: would if dry_run else did)
    complete = dry_run or report.changed == report.matched
    return ExitCode.OK if complete else ExitCode.FAILURE


def _progress() -> Callable[[int], object] | None:
    if not sys.stderr.isatty():
        return None
    return lambda count: click.echo(f"\r{count} tasks", err=True, nl=False)


def _moment(text: str) -> int:
    from mqtasks.errors import InvalidArgument

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument("before", text, "must be ISO 8601, like 2026-05-01T12:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
