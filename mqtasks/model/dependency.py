"""Tasks that wait for others: what becomes of their parents, as storage tells it."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from mqtasks.model.status import FailurePolicy
from mqtasks.model.task import ExecuteResult


class DependencyOutcome(IntEnum):
    """What became of the parent, as far as it mattered to the child. The numbers are stored."""

    OPEN = 0
    """The child waits for it."""
    SUCCEEDED = 1
    FAILED = 2
    CANCELED = 3
    MISSING = 4
    """Its row was deleted before it had ended."""
    SPAWNED = 5
    """The parent only made the child (`NewTask.child_of`), which waits for nothing of it."""
    DROPPED = 6
    """The child ended before the parent did."""


BAD_OUTCOMES: Final = frozenset(
    {DependencyOutcome.FAILED, DependencyOutcome.CANCELED, DependencyOutcome.MISSING}
)
"""Those to which the child's policy applies."""

MAX_PARENTS: Final = 10_000
"""Most tasks that one task may wait for."""


class Dependency(msgspec.Struct, frozen=True):
    """One task and one of its parents, by task id. It goes when the child's row goes."""

    child_id: int
    parent_id: int
    position: int
    """Place of the parent in `NewTask.after`, from 0."""
    policy: FailurePolicy
    outcome: DependencyOutcome


class ParentResult(msgspec.Struct, frozen=True):
    """A parent as its child sees it."""

    parent_id: int
    metadata_id: str
    """Empty if its row is gone."""
    outcome: DependencyOutcome
    result: ExecuteResult | None = None
    """As stored now; None if there is none: not ended, canceled, or gone."""
