"""Why tasks of a lane wait: what an operator asks first."""

from __future__ import annotations

from enum import Enum

import msgspec


class Reason(Enum):
    """What keeps the tasks of a lane from being allocated."""

    NO_RUNNER = "no runner is live"
    NO_EXECUTOR = "no live runner registers the executor"
    LABELS = "no live runner with the executor has the labels"
    PAUSED = "paused until somebody resumes it"
    CONCURRENCY = "the executor's concurrency is used up"
    KEY_CONCURRENCY = "the key's concurrency is used up"
    RATE = "the rate is used up for now"
    FULL = "every fitting runner is full"
    CPU = "no fitting runner has enough free cpu"
    MEMORY = "no fitting runner has enough free memory"
    RESOURCE = "no fitting runner has enough of a named resource free"


class Unplaced(msgspec.Struct, frozen=True):
    """One answer: the reason, and its figures as text for people."""

    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}"
