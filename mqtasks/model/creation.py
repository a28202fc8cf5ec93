"""Records of creating tasks: what is handed to storage, and what it answers."""

from __future__ import annotations

import msgspec

from mqtasks.model.status import FailurePolicy
from mqtasks.model.task import TaskMetadata


class NewTask(msgspec.Struct, frozen=True):
    """A task to be created. ``run_at`` (unix ms) beats ``metadata.options.delay_duration``."""

    metadata: TaskMetadata
    parent_task_id: str = ""
    run_at: int = 0
    after: tuple[str, ...] = ()
    """Metadata ids of the tasks it waits for, each stored already or part of the same batch. Its
    ``delay_duration`` begins when the last of them has ended."""
    on_failure: FailurePolicy = FailurePolicy.CANCEL
    """What becomes of it when one of them ends badly."""
    child_of: str = ""
    """Metadata id of the task that makes it, to be found by `children`; it waits for nothing."""
    unique_key: bytes = b""
    """What tasks have in common of which only one is made within ``unique_ms``: 32 bytes, a digest;
    empty = it has no window."""
    unique_ms: int = 0
    """How long its window stays open once it is made, milliseconds."""
    plan: str = ""
    """Id of the plan that it is part of: the tasks of one are made by one call, all or none; empty
    = it stands for itself."""


class Created(msgspec.Struct, frozen=True):
    """Answer to one NewTask: its task id, and whether this call made it."""

    task_id: int
    is_new: bool
    metadata_id: str = ""
    """Metadata id of that task where it is another one, made earlier within the same window."""
