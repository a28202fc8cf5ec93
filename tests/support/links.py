"""Tasks that wait for others: making them, and resolving until nothing moves."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from mqtasks.model import FailurePolicy, NewTask
from mqtasks.storage.contract import Resolution, TaskStorage
from tests.support.stage import new


def linked(
    metadata_id: str,
    *parents: str,
    on_failure: FailurePolicy | int = FailurePolicy.CANCEL,
    child_of: str = "",
    after: Any = None,
    **fields: Any,
) -> NewTask:
    """Return a task to create that waits for ``parents``; further keywords as of `new`."""
    links = {"after": parents if after is None else after, "child_of": child_of}
    return replace(new(metadata_id, **fields), on_failure=on_failure, **links)


def resolve(storage: TaskStorage, limit: int = 500) -> Resolution:
    """Make one pass; return what its steps did together."""
    steps = [storage.resolve_dependencies(limit=limit)]
    while steps[-1].next_parent is not None:
        steps.append(storage.resolve_dependencies(steps[-1].next_parent, limit))
    return Resolution(
        tuple(item for step in steps for item in step.released),
        tuple(item for step in steps for item in step.canceled),
        tuple(item for step in steps for item in step.failed),
        waiting=any(step.waiting for step in steps),
    )


def statuses(storage: TaskStorage) -> dict[str, str]:
    """Return the name of the status of each task by metadata id."""
    return {task.metadata.id: task.status.name for task in storage.query()}
