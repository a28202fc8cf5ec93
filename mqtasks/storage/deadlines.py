"""Deadlines of tasks that nobody runs. The same for all storages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from mqtasks.model import (
    DEFAULT_OPTIONS,
    LIVE,
    AsyncTask,
    NewTask,
    TaskOptions,
    TaskStatus,
    deadline_of,
    options_from_bytes,
    options_to_bytes,
)

LATE_MS: Final = 1000
"""How long after its deadline a task is looked at. Its runner, if it has one, is quicker; and a
task is certainly stored by then, though its deadline is noted first."""
LIVE_MS: Final = 2000
"""How soon one is looked at again that is still at a runner."""

_LIVE: Final = frozenset(map(int, LIVE))
_WAITING: Final = frozenset(
    {int(TaskStatus.CREATED), int(TaskStatus.SCHEDULED), int(TaskStatus.WAITING)}
)


class Noted(NamedTuple):
    """A task that is about to be stored, and has a deadline."""

    metadata_id: str
    options: TaskOptions
    created_at: int
    """Unix ms; 0 = now."""

    def look_at(self, now: int) -> int:
        """Return when to look at it."""
        return deadline_of(self.options, min(now, self.created_at or now)) + LATE_MS


def with_deadline(tasks: Iterable[NewTask | AsyncTask]) -> list[Noted]:
    """Return those that have a deadline."""
    return [
        Noted(
            task.metadata.id,
            options,
            task.created_at if isinstance(task, AsyncTask) else 0,
        )
        for task in tasks
        if (options := task.metadata.options) is not DEFAULT_OPTIONS
        and (options.deadline or options.deadline_at)
    ]


def first_look(options: bytes, created_at: int) -> int:
    """Return when the deadline of a stored task is to be looked at; 0 = it has none."""
    deadline = deadline_of(options_from_bytes(options), created_at) if options else 0
    return deadline + LATE_MS if deadline else 0


def judge(status: int, options: bytes, created_at: int, now: int) -> tuple[str, int]:
    """Return what becomes of a task that is looked at for its deadline.

    Either why it ends FAILED now, or when to look again, or ("", 0): no more. Times in unix ms.
    """
    deadline = deadline_of(options_from_bytes(options), created_at)
    if not deadline or not (status in _WAITING or status in _LIVE):
        return "", 0
    if now < deadline + LATE_MS:
        return "", deadline + LATE_MS
    if status in _LIVE:
        return "", now + LIVE_MS
    return cause(deadline), 0


def cause(deadline: int) -> str:
    """Return why a task ended that did not start in time."""
    return f"deadline of {moment(deadline)} passed before it started"


def moment(unix_ms: int) -> str:
    """Return a time as people read it: ISO 8601, UTC."""
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError):  # beyond the year 9999
        return f"{unix_ms} ms"


def lifted(options: bytes) -> bytes | None:
    """Return stored options without their deadline; None if they have none."""
    found = options_from_bytes(options)
    if not found.deadline and not found.deadline_at:
        return None
    return options_to_bytes(msgspec.structs.replace(found, deadline=0.0, deadline_at=0))
