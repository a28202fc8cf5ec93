"""``mqtasks tasks``: what is stored about tasks, and steering single ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import click

from mqtasks.cli.exits import ExitCode
from mqtasks.cli.lazy import LazyGroup
from mqtasks.cli.options import global_options, option
from mqtasks.cli.output import output_option, print_record, print_rows, print_written
from mqtasks.cli.session import open_service

if TYPE_CHECKING:
    from mqtasks.service import TaskService

_STATUSES = ("CREATED", "RUNNING", "COMPLETED", "CANCELED", "SCHEDULED", "CANCEL_REQUESTED")
_COLUMNS = ("task_id", "id", "executor", "status", "outcome", "epoch", "runner", "run_at", "error")

by_metadata_id = option(
    "--by-id", is_flag=True, help="TASK is always a metadata id, also if it is a number."
)


@click.group(cls=LazyGroup)
def tasks() -> None:
    """List, show, cancel and retry tasks."""


@tasks.command("list")
@option(
    "--status",
    multiple=True,
    type=click.Choice(_STATUSES, case_sensitive=False),
    help="Only these; may be repeated.",
)
@option("--executor", metavar="CODE", help="Only this executor: a name, or a number.")
@option("--runner", metavar="ID", help="Only what this runner owns or ended.")
@option("--parent", metavar="ID", help="Only children of this metadata id.")
@option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="At most this many, the newest first.",
)
@output_option
@global_options(hidden=True)
def list_tasks(
    *,
    status: tuple[str, ...],
    executor: str | None,
    runner: str | None,
    parent: str | None,
    limit: int,
    output: str,
) -> None:
    """List tasks, the newest first."""
    from mqtasks.cli.rows import task_row
    from mqtasks.cli.targets import executor_argument
    from mqtasks.conditions import where
    from mqtasks.model import TaskStatus

    conditions = [where.limit(limit), where.task_id_desc()]
    if status:
        conditions.append(where.status.in_([TaskStatus[name.upper()] for name in status]))
    if executor is not None:
        conditions.append(where.executor == executor_argument(executor))
    if runner is not None:
        conditions.append(where.runner == runner)
    if parent is not None:
        conditions.append(where.parent_task_id == parent)
    with open_service() as service:
        found = service.query_task(*conditions)
    print_rows([task_row(task) for task in found], _COLUMNS, output, "no such tasks")


@tasks.command("show")
@click.argument("task")
@by_metadata_id
@output_option
@global_options(hidden=True)
def show(*, task: str, by_id: bool, output: str) -> None:
    """Show all of one task: TASK is its number or its metadata id."""
    from mqtasks.cli.rows import task_record

    with open_service() as service:
        (number,) = _numbers(service, [task], by_id=by_id)
        record = task_record(service.get(number), service.attempts(number))
    print_record(record, output)


@tasks.command("cancel")
@click.argument("tasks", nargs=-1, required=True, metavar="TASK...")
@by_metadata_id
@output_option
@global_options(hidden=True)
def cancel(*, tasks: tuple[str, ...], by_id: bool, output: str) -> int:
    """Cancel tasks: waiting ones end at once, running ones are asked to stop.

    Exits with 1 if one of them had ended already, or is not stored.
    """
    with open_service() as service:
        numbers = _numbers(service, tasks, by_id=by_id)
        report = service.cancel(*numbers)
        outcome = _unchanged(service, report.ignored, "ended before")
    outcome |= dict.fromkeys(report.canceled, "canceled")
    outcome |= {number: f"asked of {runner}" for number, runner in report.requested}
    _report(numbers, outcome, output)
    return ExitCode.FAILURE if report.ignored else ExitCode.OK


@tasks.command("retry")
@click.argument("tasks", nargs=-1, required=True, metavar="TASK...")
@by_metadata_id
@output_option
@global_options(hidden=True)
def retry(*, tasks: tuple[str, ...], by_id: bool, output: str) -> int:
    """Run failed and canceled tasks again, with their history.

    Exits with 1 if one of them has neither failed nor been canceled, or is not stored.
    """
    with open_service() as service:
        numbers = _numbers(service, tasks, by_id=by_id)
        requeued = service.requeue(*numbers)
        others = set(numbers).difference(requeued)
        outcome = _unchanged(service, others, "neither failed nor canceled")
    outcome |= dict.fromkeys(requeued, "runs again")
    _report(numbers, outcome, output)
    return ExitCode.FAILURE if others else ExitCode.OK


def _unchanged(service: TaskService, numbers: Collection[int], why: str) -> dict[int, str]:
    """Return the outcome of tasks to which nothing was done: ``why``, if they are stored at all."""
    from mqtasks.conditions import where

    found = service.query_task(where.task_id.in_(list(numbers))) if numbers else []
    return dict.fromkeys(numbers, "not stored (never created, or pruned)") | dict.fromkeys(
        (task.id for task in found), why
    )


def _report(numbers: Sequence[int], outcome: dict[int, str], output: str) -> None:
    rows: list[dict[str, Any]] = [
        {"task_id": number, "outcome": outcome[number]} for number in dict.fromkeys(numbers)
    ]
    print_written(rows, output, lambda row: f"task {row['task_id']}: {row['outcome']}")


def _numbers(service: TaskService, names: Sequence[str], *, by_id: bool) -> list[int]:
    """Return the task numbers of what was typed. Raises TaskNotFound for an unknown name."""
    from mqtasks.errors import TaskNotFound

    texts = [name for name in names if by_id or not name.isdecimal()]
    found = service.storage.find(texts) if texts else {}
    for name in texts:
        if name not in found:
            raise TaskNotFound(name)
    return [found[name].id if name in found else int(name) for name in names]
