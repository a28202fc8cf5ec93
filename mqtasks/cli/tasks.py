"""``mqtasks tasks``: what is stored about tasks, and steering single ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from mqtasks.cli.bulk import act_on_many, filter_options, selected
from mqtasks.cli.exits import ExitCode
from mqtasks.cli.lazy import LazyGroup
from mqtasks.cli.options import global_options, option
from mqtasks.cli.output import output_option, print_record, print_rows, print_written
from mqtasks.cli.session import open_service

if TYPE_CHECKING:
    from mqtasks.conditions import Condition
    from mqtasks.service import TaskService

_STATUSES = (
    "CREATED",
    "RUNNING",
    "COMPLETED",
    "CANCELED",
    "SCHEDULED",
    "CANCEL_REQUESTED",
    "WAITING",
)
_COLUMNS = ("task_id", "id", "executor", "status", "outcome", "epoch", "runner", "run_at", "error")

by_metadata_id = option(
    "--by-id", is_flag=True, help="TASK is always a metadata id, also if it is a number."
)


@click.group(cls=LazyGroup)
def tasks() -> None:
    """List, show, edit, cancel and retry tasks."""


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
    from mqtasks.cli.links import links_of
    from mqtasks.cli.rows import task_record

    with open_service() as service:
        (number,) = _numbers(service, [task], by_id=by_id)
        found = service.get(number)
        record = task_record(found, service.attempts(number)) | links_of(service, found)
    print_record(record, output)


@tasks.command("edit")
@click.argument("task")
@by_metadata_id
@option("--args", metavar="JSON", help="New positional arguments, as a list.")
@option("--kwargs", metavar="JSON", help="New named arguments, as an object.")
@option("--payload", metavar="TEXT|@FILE|-", help="For executors of raw payloads.")
@option("--priority", type=int, help="New priority.")
@option("--retry", is_flag=True, help="Then run it again: for failed and canceled tasks.")
@output_option
@global_options(hidden=True)
def edit(
    *,
    task: str,
    by_id: bool,
    args: str | None,
    kwargs: str | None,
    payload: str | None,
    priority: int | None,
    retry: bool,
    output: str,
) -> int:
    """Change what a task is given, while it waits or after it has failed.

    \b
    mqtasks tasks edit 17 --args '["cat.jpg"]' --kwargs '{"width": 320}' --retry
    """  # noqa: D301 - \b keeps click from joining the lines
    from mqtasks.cli.edits import new_context, new_options

    context = new_context(args, kwargs, payload)
    with open_service() as service:
        (number,) = _numbers(service, [task], by_id=by_id)
        options = new_options(service.get(number), priority)
        service.control.edit(number, context=context, options=options)
        again = retry and bool(service.requeue(number))
    _report([number], {number: "edited, runs again" if again else "edited"}, output)
    return ExitCode.FAILURE if retry and not again else ExitCode.OK


@tasks.command("cancel")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@by_metadata_id
@filter_options
@output_option
@global_options(hidden=True)
def cancel(
    *, tasks: tuple[str, ...], by_id: bool, dry_run: bool, yes: bool, output: str, **filters: Any
) -> int:
    """Cancel tasks: waiting ones end at once, running ones are asked to stop.

    Name them, or select them with filters. Exits with 1 if one of them had ended already, or is
    not stored.
    """
    conditions = _either(tasks, filters)
    with open_service() as service:
        if conditions:
            act = service.control.cancel_where
            return act_on_many(act, conditions, output, done="canceled", dry_run=dry_run, yes=yes)
        numbers = _numbers(service, tasks, by_id=by_id)
        report = service.cancel(*numbers)
        outcome = _unchanged(service, report.ignored, "ended before")
    outcome |= dict.fromkeys(report.canceled, "canceled")
    outcome |= {number: f"asked of {runner}" for number, runner in report.requested}
    _report(numbers, outcome, output)
    return ExitCode.FAILURE if report.ignored else ExitCode.OK


@tasks.command("retry")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@by_metadata_id
@option("--canceled", is_flag=True, help="With filters: the canceled ones, too.")
@filter_options
@output_option
@global_options(hidden=True)
def retry(
    *,
    tasks: tuple[str, ...],
    by_id: bool,
    canceled: bool,
    dry_run: bool,
    yes: bool,
    output: str,
    **filters: Any,
) -> int:
    """Run failed and canceled tasks again, with their history.

    Name them, or select failed ones with filters. Exits with 1 if one of them has neither failed
    nor been canceled, or is not stored.
    """
    conditions = _either(tasks, filters)
    with open_service() as service:
        if conditions:
            act = partial(service.control.requeue_where, canceled=canceled)
            return act_on_many(act, conditions, output, done="run again", dry_run=dry_run, yes=yes)
        numbers = _numbers(service, tasks, by_id=by_id)
        requeued = service.requeue(*numbers)
        others = set(numbers).difference(requeued)
        outcome = _unchanged(service, others, "neither failed nor canceled")
    outcome |= dict.fromkeys(requeued, "runs again")
    _report(numbers, outcome, output)
    return ExitCode.FAILURE if others else ExitCode.OK


def _either(tasks: Sequence[str], filters: dict[str, Any]) -> list[Condition]:
    """Return the conditions of filters; none if tasks are named. Raises UsageError for both."""
    conditions = selected(**filters)
    if tasks and conditions:
        raise click.UsageError("name tasks or select them with filters, not both")
    if not (tasks or conditions):
        raise click.UsageError("name tasks, or select them: --executor, --parent, --before, --all")
    return conditions


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
