"""Rows about the tasks that one waits for, and about those it has made or keeps waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mqtasks.cli.rows import Row
    from mqtasks.model import AsyncTask
    from mqtasks.service import TaskService

MOST: Final = 100
"""Tasks listed on each side; ``waits_for`` counts all."""


def links_of(service: TaskService, task: AsyncTask) -> Row:
    """Return what ``tasks show`` says of a task's relatives; empty for one without any.

    ``waits_for`` is how many tasks have to end before it begins, ``after`` lists those that it
    waits or waited for, the open ones first, ``before`` those that wait or waited for it, and
    ``children`` those that it made.
    """
    from mqtasks.model import DependencyOutcome

    links = service.storage.dependencies(task.id)
    parents = [link for link in links if link.outcome is not DependencyOutcome.SPAWNED]
    children = service.storage.children(task.id, limit=MOST)
    row: Row = {}
    if parents:
        is_open = [link for link in parents if link.outcome is DependencyOutcome.OPEN]
        settled = [link for link in parents if link.outcome is not DependencyOutcome.OPEN]
        shown = (is_open + settled)[:MOST]
        row["waits_for"] = len(is_open)
        row["on_failure"] = parents[0].policy.name
        stored = _stored(service, [link.parent_id for link in shown])
        row["after"] = [
            {**_named(link.parent_id, stored), "outcome": link.outcome.name} for link in shown
        ]
    if children:
        stored = _stored(service, [link.child_id for link in children])
        for link in children:
            spawned = link.outcome is DependencyOutcome.SPAWNED
            side = row.setdefault("children" if spawned else "before", [])
            side.append(_named(link.child_id, stored))
    return row


def _stored(service: TaskService, task_ids: list[int]) -> dict[int, AsyncTask]:
    return {task.id: task for task in service.storage.load(task_ids)}


def _named(task_id: int, stored: dict[int, AsyncTask]) -> dict[str, Any]:
    task = stored.get(task_id)
    return {
        "task_id": task_id,
        "id": "" if task is None else task.metadata.id,
        "status": "not stored" if task is None else task.status.name,
    }
