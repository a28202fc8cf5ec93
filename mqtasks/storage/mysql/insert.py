"""Rendering new tasks into one INSERT: the hottest loop of the producer's side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mqtasks.model import NewTask, TaskStatus, executor_code, lane_of, options_to_bytes
from mqtasks.storage.mysql.render import literal
from mqtasks.storage.sql.rows import retention_ms


def render_tasks(tasks: Sequence[NewTask], now: str, now_default: str) -> str:
    """Return the rows of ``insert_tasks``.

    What tasks have in common (all but id and payload, as a rule) is rendered once.

    Args:
        tasks: Valid tasks.
        now: The database's clock as an expression.
        now_default: The same for the columns run_at and created_at: their default, which the
            server evaluates much faster than the expression in every row.
    """
    tails: dict[tuple[int | str, int, str, int], str] = {}
    rows: list[str] = []
    for task in tasks:
        metadata = task.metadata
        # Options are compared by identity: tasks of one definition share them.
        key = (metadata.executor, id(metadata.options), task.parent_task_id, task.run_at)
        tail = tails.get(key)
        if tail is None:
            tail = tails[key] = _tail(task, now, now_default)
        rows.append(f"(x'{metadata.id.encode().hex()}',x'{metadata.context.hex()}',{tail}")
    return ",".join(rows)


def _tail(task: NewTask, now: str, now_default: str) -> str:
    metadata = task.metadata
    options = metadata.options
    lane, rank = lane_of(metadata), -options.priority
    delay = round(options.delay_duration * 1000)
    status: int | str
    queue_lane: int | str
    queue_rank: int | str
    if task.run_at:
        later = _chooser(task.run_at, now)
        run_at = str(task.run_at)
        status = later(int(TaskStatus.SCHEDULED), int(TaskStatus.CREATED))
        queue_lane, queue_rank = later(0, lane), later(0, rank)
    elif delay:
        run_at = f"{now}+{delay}"
        status, queue_lane, queue_rank = int(TaskStatus.SCHEDULED), 0, 0
    else:
        run_at = now_default
        status, queue_lane, queue_rank = int(TaskStatus.CREATED), lane, rank
    return (
        f"{literal(executor_code(metadata.executor))},{literal(options_to_bytes(options))},"
        f"{literal(task.parent_task_id)},{status},{options.priority},{lane},{queue_lane},"
        f"{queue_rank},{run_at},{literal(retention_ms(options))},{now_default})"
    )


def _chooser(run_at: int, now: str) -> Callable[[int, int], str]:
    return lambda later, due: f"IF({run_at}>{now},{later},{due})"
