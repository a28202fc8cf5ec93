"""Links between tasks: what is refused, and what becomes of a child. The same for all storages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from graphlib import CycleError, TopologicalSorter
from typing import Final, NamedTuple

from mqtasks.errors import InvalidArgument
from mqtasks.model import (
    BAD_OUTCOMES,
    MAX_PARENTS,
    DependencyOutcome,
    FailurePolicy,
    NewTask,
    ResultCode,
    TaskStatus,
    checked_id,
)

MOST_PER_STEP: Final = 2000
"""Parents, and edges, that one step of the resolver may take."""


class Edge(NamedTuple):
    """One link of one child; how its parent is called, and why that ended; empty = not known."""

    parent_id: int
    position: int
    outcome: DependencyOutcome
    parent: str
    why: str = ""


class Move(Enum):
    """What becomes of a WAITING task."""

    WAIT = 0
    RELEASE = 1
    CANCEL = 2
    FAIL = 3


_MOVES: Final = {FailurePolicy.CANCEL: Move.CANCEL, FailurePolicy.FAIL: Move.FAIL}
_SAID: Final = {
    DependencyOutcome.FAILED: "failed",
    DependencyOutcome.CANCELED: "was canceled",
    DependencyOutcome.MISSING: "was deleted",
}


_BECAUSE: Final = " (because "
_ROOT: Final = re.compile(
    r"parent (?:'[^']*'|\"[^\"]*\"|\d+ of `after`) (?:failed|was canceled) \(because (.*)\)"
)
_MOST_SAID: Final = 300
"""Characters of the first cause in that of each task that ended because of it."""


def is_linked(task: NewTask) -> bool:
    """Return whether a task has links to others."""
    return bool(task.after or task.child_of)


def check_links(task: NewTask) -> None:
    """Raise InvalidArgument for the first link of a task that no storage would take."""
    if not isinstance(task.after, tuple):
        raise InvalidArgument("after", task.after, "must be a tuple of metadata ids")
    if len(task.after) > MAX_PARENTS:
        raise InvalidArgument(
            "after",
            len(task.after),
            f"are too many, the limit is {MAX_PARENTS}: join in two levels",
        )
    for parent in task.after:
        checked_id("after", parent)
    checked_id("child_of", task.child_of, empty=True)
    if task.metadata.id in task.after or task.metadata.id == task.child_of:
        raise InvalidArgument("after", task.metadata.id, "a task cannot wait for itself")
    try:
        FailurePolicy(task.on_failure)
    except ValueError:
        raise InvalidArgument("on_failure", task.on_failure, "must be a FailurePolicy") from None


def check_unlinked(task: NewTask) -> None:
    """Raise InvalidArgument if a task that a cron definition makes has links."""
    if is_linked(task):
        raise InvalidArgument(
            "task.after", task.after or task.child_of, "a cron firing waits for no other task"
        )


def check_acyclic(tasks: Iterable[NewTask]) -> None:
    """Raise InvalidArgument if tasks of one batch wait for each other in a circle.

    Across batches that cannot be: a task waits for what is stored, and links never change.
    """
    graph = {task.metadata.id: task.after for task in tasks if task.after}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = " <- ".join(error.args[1])
        raise InvalidArgument("after", circle, "is a circle: none of them could start") from None


def checked_limit(limit: int) -> int:
    """Return how much one step of the resolver takes; raises InvalidArgument."""
    if limit < 1:
        raise InvalidArgument("limit", limit, "must be >= 1")
    return min(limit, MOST_PER_STEP)


def parents_of(task: NewTask) -> list[str]:
    """Return the metadata ids that a task waits for, each once, in order."""
    return list(dict.fromkeys(task.after))


def not_stored(task: NewTask, parent: str) -> InvalidArgument:
    """Return the error for a parent that is neither stored nor in the batch."""
    field = "after" if parent in task.after else "child_of"
    return InvalidArgument(
        field,
        parent,
        f"is not stored (of task {task.metadata.id!r}): create it first, or in the same call",
    )


def outcome_of(status: int, result_code: int | None) -> DependencyOutcome:
    """Return what became of a parent that is stored."""
    if status == TaskStatus.CANCELED:
        return DependencyOutcome.CANCELED
    if status != TaskStatus.COMPLETED:
        return DependencyOutcome.OPEN
    if result_code == ResultCode.SUCCESS:
        return DependencyOutcome.SUCCEEDED
    return DependencyOutcome.FAILED


def decide(policy: int, settled: Sequence[Edge], left: int) -> tuple[Move, str]:
    """Return what becomes of a WAITING child, and why.

    ``settled`` are the edges that were settled just now, ``left`` how many are still open. Those
    settled before do not matter: a bad one would have ended the child then.
    """
    bad = [edge for edge in settled if edge.outcome in BAD_OUTCOMES]
    if bad and policy in _MOVES:
        return _MOVES[FailurePolicy(policy)], _cause(min(bad, key=lambda edge: edge.position))
    return (Move.WAIT if left else Move.RELEASE), ""


def due_at(run_at: int, delay: float, now: int) -> int:
    """Return when a released task is due; ``delay`` in seconds, times in unix ms."""
    return run_at or now + round(delay * 1000)


def _cause(edge: Edge) -> str:
    name = f"parent {edge.parent!r}" if edge.parent else f"parent {edge.position + 1} of `after`"
    said = f"{name} {_SAID[edge.outcome]}"
    why = " ".join(edge.why.split())
    of_parent = why.startswith("parent ")
    if of_parent:
        # The parent ended because of its own parent: what is kept is where it began.
        root = _ROOT.fullmatch(why)
        why = root[1] if root else why.removeprefix("parent ")
    if len(why) > _MOST_SAID:
        why = f"{why[: _MOST_SAID - 1]}…"
    if not why:
        return said
    return f"{said}{_BECAUSE}{why})" if of_parent else f"{said}: {why}"
