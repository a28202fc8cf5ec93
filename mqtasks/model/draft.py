"""Tasks that are thought out and not yet created, and the ids that follow from others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mqtasks.model.creation import Created, NewTask
from mqtasks.model.task import MAX_ID_BYTES

H_co = TypeVar("H_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Draft(Generic[H_co]):
    """What one `create_tasks` shall create, and how the caller wants to see the answer."""

    tasks: Sequence[NewTask]
    handles: Callable[[Sequence[Created]], H_co]
    """Makes the caller's handles of the answers, one for each task in their order."""
    same: Callable[[int, bytes], bool]
    """Tells whether a stored context says the same call as the task with this index."""
    connection: Any = None
    """The caller's connection whose transaction shall create them, if any."""


def child_id(parent_id: str, code: str, number: int) -> str:
    """Return the metadata id of a task's child: the same in each attempt of the task.

    ``<parent>/<code>:<number>``; a slash in ``code`` is written ``%2F``, so that no two parents
    have a child of one id. What would be too long for an id is replaced by its hash.
    """
    escaped = code.replace("%", "%25").replace("/", "%2F")
    return _fitting(f"{parent_id}/{escaped}:{number}")


def member_id(plan_id: str, number: int) -> str:
    """Return the metadata id of member ``number`` of a plan: ``<plan>/<number>``."""
    return _fitting(f"{plan_id}/{number}")


def _fitting(text: str) -> str:
    data = text.encode(errors="surrogatepass")
    return text if len(data) <= MAX_ID_BYTES else f"~{hashlib.sha256(data).hexdigest()}"
