"""Linking new tasks to those they wait for, and moving them on, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from mqtasks.model import (
    DEFAULT_OPTIONS,
    FINAL,
    Attempt,
    AttemptOutcome,
    Dependency,
    DependencyOutcome,
    ExecuteResult,
    FailurePolicy,
    NewTask,
    ResultCode,
    TaskStatus,
    options_from_bytes,
)
from mqtasks.storage.links import (
    Edge,
    Move,
    check_acyclic,
    decide,
    due_at,
    is_linked,
    not_stored,
    outcome_of,
    parents_of,
)
from mqtasks.storage.memory.rows import Row
from mqtasks.storage.memory.tables import Tables

_FINAL = frozenset(map(int, FINAL))


def first_linked(tasks: Sequence[NewTask]) -> list[NewTask]:
    """Return the tasks with links, the first of each metadata id; raises for a circle."""
    if not any(map(is_linked, tasks)):
        return []
    firsts = {task.metadata.id: task for task in reversed(tasks)}
    linked = [task for task in tasks if task is firsts[task.metadata.id] and is_linked(task)]
    check_acyclic(linked)
    return linked


def demand_parents(tables: Tables, linked: Iterable[NewTask], batch: AbstractSet[str]) -> None:
    """Raise InvalidArgument if a new task names a parent that there is not."""
    for task in linked:
        if task.metadata.id in tables.by_metadata:
            continue
        for parent in (*task.after, *((task.child_of,) if task.child_of else ())):
            if parent not in tables.by_metadata and parent not in batch:
                raise not_stored(task, parent)


def link(tables: Tables, new: Sequence[NewTask], now: int) -> None:
    """Write the links of tasks that were created just now; move those that wait for nothing."""
    fresh = {tables.by_metadata[task.metadata.id] for task in new}
    waiting: list[tuple[Row, FailurePolicy, list[Edge], int]] = []
    for task in new:
        row = tables.rows[tables.by_metadata[task.metadata.id]]
        policy = FailurePolicy(task.on_failure)
        edges = [_edge(tables, at, name, fresh) for at, name in enumerate(parents_of(task))]
        for edge in edges:
            tables.edges.add(
                Dependency(row.task_id, edge.parent_id, edge.position, policy, edge.outcome)
            )
        if task.child_of and task.child_of not in task.after:
            maker = tables.by_metadata[task.child_of]
            tables.edges.add(
                Dependency(row.task_id, maker, len(edges), policy, DependencyOutcome.SPAWNED)
            )
        if edges:
            settled = [edge for edge in edges if edge.outcome is not DependencyOutcome.OPEN]
            waiting.append((row, policy, settled, len(edges) - len(settled)))
    for row, policy, settled, left in waiting:
        move_on(tables, row, decide(policy, settled, left), now)


def _edge(tables: Tables, position: int, name: str, fresh: AbstractSet[int]) -> Edge:
    parent = tables.rows[tables.by_metadata[name]]
    if parent.task_id in fresh:
        return Edge(parent.task_id, position, DependencyOutcome.OPEN, name)
    outcome = outcome_of(parent.status, parent.result_code)
    return Edge(parent.task_id, position, outcome, name, why_ended(tables, parent))


def why_ended(tables: Tables, row: Row) -> str:
    """Return what is said of a task's end: in its history, if it was canceled."""
    attempt = tables.attempts.get(row.task_id, {}).get(row.epoch)
    if row.status == TaskStatus.CANCELED:
        known = attempt is not None and attempt.outcome == AttemptOutcome.CANCELED
        return attempt.error if attempt and known else ""
    return "" if row.result is None else row.result.error


def move_on(tables: Tables, row: Row, decided: tuple[Move, str], now: int) -> None:
    """Do to a WAITING row what was decided."""
    move, cause = decided
    if move is Move.WAIT:
        return
    tables.unlink(row)
    if move is Move.RELEASE:
        options = options_from_bytes(row.options) if row.options else DEFAULT_OPTIONS
        row.run_at = due_at(row.run_at, options.delay_duration, now)
        row.status = TaskStatus.SCHEDULED if row.run_at > now else TaskStatus.CREATED
    else:
        tables.edges.drop(row.task_id)
        row.completed_at = now
        if move is Move.CANCEL:
            row.status = TaskStatus.CANCELED
            tables.history(
                Attempt(
                    task_id=row.task_id,
                    epoch=row.epoch,
                    runner=row.runner,
                    outcome=int(AttemptOutcome.CANCELED),
                    started_at=row.started_at,
                    ended_at=now,
                    error=cause,
                )
            )
        else:
            row.status = TaskStatus.COMPLETED
            row.result = ExecuteResult(ResultCode.FAILED, cause)
    tables.link(row)


def is_needed(tables: Tables, row: Row) -> bool:
    """Return whether a task that has not ended waits, or has waited, for this one."""
    edges = tables.edges
    return any(
        edges.parents[child_id][row.task_id].outcome is not DependencyOutcome.SPAWNED
        and child_id in tables.rows
        and tables.rows[child_id].status not in _FINAL
        for child_id in edges.children.get(row.task_id, ())
    )
