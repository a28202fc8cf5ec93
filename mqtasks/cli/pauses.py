"""``mqtasks pause``, ``resume`` and ``pauses``: holding work back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mqtasks.cli.exits import ExitCode
from mqtasks.cli.options import global_options, option
from mqtasks.cli.output import output_option, print_rows, print_written
from mqtasks.cli.session import open_service

if TYPE_CHECKING:
    from mqtasks.service import TaskService

_KINDS = ("executor", "key", "tenant", "runner", "cron")
_COLUMNS = ("kind", "name", "reason", "paused_at")

_kind = click.argument("kind", type=click.Choice(_KINDS))


@click.command("pause")
@_kind
@click.argument("name")
@option("--reason", default="", metavar="TEXT", help="Why, for those who wonder later.")
@output_option
@global_options(hidden=True)
def pause(*, kind: str, name: str, reason: str, output: str) -> int:
    """Hold back an executor, key, tenant or runner.

    Or a cron task. Its tasks wait; what runs already goes on. A paused runner gets nothing new. It
    stays so, whatever is restarted, until `mqtasks resume`. Exits with 1 if it was paused before.
    """
    with open_service() as service:
        changed = service.control.pause(kind, _name(kind, name), reason)  # type: ignore[arg-type]
    return _report(kind, name, output, changed=changed, done="paused", before="was paused before")


@click.command("resume")
@_kind
@click.argument("name")
@output_option
@global_options(hidden=True)
def resume(*, kind: str, name: str, output: str) -> int:
    """Lift a pause.

    Exits with 1 if there was none.
    """
    with open_service() as service:
        changed = service.control.resume(kind, _name(kind, name))  # type: ignore[arg-type]
    return _report(kind, name, output, changed=changed, done="resumed", before="was not paused")


@click.command("pauses")
@output_option
@global_options(hidden=True)
def pauses(*, output: str) -> None:
    """List what is paused."""
    with open_service() as service:
        rows = _rows(service)
    print_rows(rows, _COLUMNS, output, "nothing is paused")


def _rows(service: TaskService) -> list[dict[str, Any]]:
    from mqtasks.model import PauseKind, executor_value

    rows: list[dict[str, Any]] = [
        {
            "kind": pause.kind.value,
            "name": executor_value(pause.name) if pause.kind is PauseKind.EXECUTOR else pause.name,
            "reason": pause.reason,
            "paused_at": pause.paused_at,
        }
        for pause in service.control.pauses()
    ]
    rows += [
        {
            "kind": "cron",
            "name": cron.metadata.id,
            "reason": cron.pause_reason,
            "paused_at": cron.updated_at,
        }
        for cron in service.query_cron_task()
        if cron.paused
    ]
    return rows


def _name(kind: str, name: str) -> int | str:
    from mqtasks.cli.targets import executor_argument

    return executor_argument(name) if kind == "executor" else name


def _report(kind: str, name: str, output: str, *, changed: bool, done: str, before: str) -> int:
    row = {"kind": kind, "name": name, "changed": changed}
    print_written([row], output, lambda _: f"{kind} {name} {done if changed else before}")
    return ExitCode.OK if changed else ExitCode.FAILURE
