"""Pauses: what shall not be started until somebody says so."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from mqtasks.errors import InvalidArgument
from mqtasks.model.task import checked_id, executor_code


class PauseKind(StrEnum):
    """What a pause holds back. The words are stored; they never change meaning."""

    EXECUTOR = "executor"
    """All tasks of one executor."""
    KEY = "key"
    """All tasks with one concurrency key."""
    TENANT = "tenant"
    """All tasks of one tenant."""
    RUNNER = "runner"
    """Every task at one runner: it is cordoned, finishes what it has and gets nothing new."""


class Pause(msgspec.Struct, frozen=True):
    """One pause. It holds until it is lifted, whatever is restarted."""

    kind: PauseKind
    name: str
    """The executor code in its stored form, the key, the tenant, or the runner id."""
    reason: str = ""
    """For people."""
    paused_at: int = 0
    """Unix ms, database clock."""


def pause_name(kind: PauseKind | str, name: int | str) -> tuple[PauseKind, str]:
    """Return kind and stored name of what shall be paused.

    Raises InvalidArgument for an unknown kind and for a name that nothing can have.
    """
    try:
        kind = PauseKind(kind)
    except ValueError:
        known = ", ".join(item.value for item in PauseKind)
        raise InvalidArgument("kind", kind, f"must be one of: {known}") from None
    if kind is PauseKind.EXECUTOR:
        return kind, executor_code(name)
    return kind, checked_id(kind.value, name)
