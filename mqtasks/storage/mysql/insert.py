"""Rendering new tasks into one INSERT: the hottest loop of the producer's side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from mqtasks.model import (
    DEFAULT_OPTIONS,
    NewTask,
    TaskMetadata,
    TaskStatus,
    executor_code,
    lane_of,
    options_to_bytes,
)
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
    tails: dict[tuple[int | str, int, str, int, bool], str] = {}
    rows: list[str] = []
    for task in tasks:
        metadata = task.metadata
        # Options are compared by identity: tasks of one definition share them.
        waits = bool(task.after)
        key = (metadata.executor, id(metadata.options), task.parent_task_id, task.run_at, waits)
        tail = tails.get(key)
        if tail is None:
            plain = metadata.options is DEFAULT_OPTIONS and not task.parent_task_id
            if plain and not task.run_at and not waits:
                tail = f"{_plain_head(metadata.executor)},{now_default},NULL,{now_default})"
            else:
                tail = _tail(task, now, now_default)
            tails[key] = tail
        rows.append(f"(x'{metadata.id.encode().hex()}',x'{metadata.context.hex()}',{tail}")
    return ",".join(rows)


@lru_cache(maxsize=4096)
def _plain_head(executor: int | str) -> str:
    """Return what stands between payload and times for a task without options."""
    lane = lane_of(TaskMetadata("", executor))
    return f"{literal(executor_code(executor))},x'',x'',{int(TaskStatus.CREATED)},0,{lane},{lane},0"


def _tail(task: NewTask, now: str, now_default: str) -> str:
    metadata = task.metadata
    options = metadata.options
    lane, rank = lane_of(metadata), -options.priority
    delay = round(options.delay_duration * 1000)
    status: int | str
    queue_lane: int | str
    queue_rank: int | str
    if task.after:
        run_at = str(task.run_at)
        status, queue_lane, queue_rank = int(TaskStatus.WAITING), 0, 0
    elif task.run_at:
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
