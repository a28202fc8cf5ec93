"""``mqtasks enqueue``: create one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from mqtasks.cli.exits import ExitCode
from mqtasks.cli.options import global_options, option
from mqtasks.cli.output import output_option, print_written
from mqtasks.cli.session import open_service
from mqtasks.cli.targets import Target, find_target, target_arguments

if TYPE_CHECKING:
    from mqtasks.service import TaskService


@click.command
@target_arguments
@option("--id", "metadata_id", metavar="ID", help="Your own unique name: created once.")
@option(
    "--unique-for",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="For so long equal calls are this one task; 0 = also if the task says otherwise.",
)
@option("--unique-key", metavar="TEXT", help="What makes calls equal, instead of their arguments.")
@option("--delay", type=click.FloatRange(min=0), metavar="SECONDS", help="Due this much later.")
@option("--at", metavar="TIME", help="Due then: ISO 8601 with offset, 2030-01-31T12:00+00:00.")
@option(
    "--deadline",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Fails if it has not ended this long after its creation.",
)
@option("--priority", type=int, help="Higher runs first.")
@option("--parent", default="", metavar="ID", help="Metadata id that groups tasks.")
@option(
    "--after",
    multiple=True,
    metavar="ID",
    help="Waits until the task with this metadata id has succeeded; may be repeated.",
)
@option(
    "--on-failure",
    type=click.Choice(["cancel", "run", "fail"]),
    default="cancel",
    show_default=True,
    help="What becomes of it if one of those has not.",
)
@option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait that long for the end, and print the result; fails if the task does, or goes on.",
)
@output_option
@global_options(hidden=True)
def enqueue(
    *,
    app: str | None,
    task: str | None,
    arguments: tuple[str, ...],
    executor: str | None,
    payload: str | None,
    metadata_id: str | None,
    unique_for: float | None,
    unique_key: str | None,
    delay: float | None,
    at: str | None,
    deadline: float | None,
    priority: int | None,
    parent: str,
    after: tuple[str, ...],
    on_failure: str,
    wait: float | None,
    output: str,
) -> int:
    """Create a task.

    \b
    mqtasks enqueue shop.tasks:app thumbnail '"cat.jpg"' width=320
    mqtasks enqueue --executor 7 --payload @order.json --id order-17

    Each ARG is JSON, or name=JSON. A task of an app is checked against its signature; an executor
    named by --executor is not, and takes its payload as it is.
    """  # noqa: D301 - \b keeps click from joining the lines
    import msgspec

    from mqtasks.app.ids import new_metadata_id
    from mqtasks.model import FailurePolicy, NewTask, TaskMetadata

    target = find_target(app, task, arguments, executor, payload)
    window = _window(target, metadata_id, unique_for, unique_key)
    run_at = 0 if at is None else _unix_ms(at, delay)
    changes: dict[str, Any] = {}
    if delay is not None:
        changes["delay_duration"] = delay
    if deadline is not None:
        changes |= {"deadline": deadline, "deadline_at": 0}
    if priority is not None:
        changes["priority"] = priority
    options = msgspec.structs.replace(target.options, **changes)
    metadata = TaskMetadata(
        new_metadata_id() if metadata_id is None else metadata_id,
        target.executor,
        target.context,
        options,
    )
    with open_service(target.app, create=True) as service:
        policy = FailurePolicy[on_failure.upper()]
        new = NewTask(metadata, parent, run_at, after, policy, **window)
        created = service.create_tasks([new])[0]
        row = {
            "task_id": created.task_id,
            "id": created.metadata_id or metadata.id,
            "executor": metadata.executor,
            "is_new": created.is_new,
        }
        if target.definition is None:
            _warn_unless_known(service, metadata)
        _print(service, row, target, wait, output)
    return ExitCode.OK


def _window(
    target: Target, metadata_id: str | None, unique_for: float | None, unique_key: str | None
) -> dict[str, Any]:
    """Return the fields of the new task that say with which others it is the same."""
    from mqtasks.app.unique import changed_window, unique_digest
    from mqtasks.errors import InvalidArgument

    given: dict[str, Any] = {}
    if unique_for is not None:
        given["unique_for"] = unique_for or None
    if unique_key is not None:
        given["unique_key"] = unique_key
    definition = target.definition
    window = changed_window(None if definition is None else definition.window, given)
    if window is None:
        return {}
    if metadata_id is not None:
        raise InvalidArgument(
            "id", metadata_id, "names the task already: leave it out, or give --unique-for 0"
        )
    signature = None if definition is None else definition.signature
    args: Sequence[Any] = (target.context,)
    kwargs: Mapping[str, Any] = {}
    if definition is not None and signature is not None:
        args, kwargs = definition.codec.decode_call(target.context)  # as stored: plain values
    digest = unique_digest(window, target.executor, signature, args, kwargs)
    return {"unique_key": digest, "unique_ms": window.milliseconds}


def _print(
    service: TaskService, row: dict[str, Any], target: Target, wait: float | None, output: str
) -> None:
    """Print what was created and, after the wait, its result.

    However the wait ends, what was created is printed: people see it at once; JSON is one document,
    which holds the result if there is one.
    """
    if output == "table":
        print_written([row], output, _sentence)
    try:
        if wait is not None:
            row["result"] = _result(service, row["task_id"], row["id"], target, wait)
    finally:
        if output != "table":
            print_written([row], output, _sentence)
    if output == "table" and wait is not None:
        click.echo(repr(row["result"]))


def _sentence(row: Any) -> str:
    made = "created" if row["is_new"] else "had been created before"
    return f"task {row['task_id']} ({row['id']}) {made}"


def _warn_unless_known(service: TaskService, metadata: Any) -> None:
    """Say so if no live runner has the executor: the task is stored, and waits for one."""
    from mqtasks.model import executor_code

    code = executor_code(metadata.executor)
    runners = [runner for runner in service.storage.runners() if runner.lease_remaining_ms > 0]
    if not any(code in runner.executors for runner in runners):
        click.echo(
            f"mqtasks: no live runner has executor {metadata.executor!r}; the task waits for one",
            err=True,
        )


def _result(
    service: TaskService, task_id: int, metadata_id: str, target: Target, timeout: float
) -> Any:
    from mqtasks.app import TaskHandle
    from mqtasks.cli.rows import readable

    definition = target.definition
    decode = readable if definition is None else definition.codec.decode_result
    handle: TaskHandle[Any] = TaskHandle(lambda: service, task_id, metadata_id, decode, is_new=True)
    return handle.result(timeout)


def _unix_ms(text: str, delay: float | None) -> int:
    from mqtasks.errors import InvalidArgument

    if delay is not None:
        raise click.UsageError("give either --at or --delay, not both")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument("at", text, "must be ISO 8601, 2030-01-31T12:00+00:00") from None
    if moment.tzinfo is None:
        raise InvalidArgument("at", text, "must name its offset: append Z, or +01:00")
    return max(1, int(moment.timestamp() * 1000))
