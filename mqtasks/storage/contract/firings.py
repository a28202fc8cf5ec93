"""Records of cron firings, and firings beside the schedule (P12)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from mqtasks.model import CronFiring, CronTask, FiredTask, FiringKind, NewFiring

MANUAL_COUNTS_MS: Final = 86_400_000
"""For how long `fired_tasks` knows of a manual firing, milliseconds."""


class FiringOperations(ABC):
    """What is beyond `CronOperations.trigger_many`, which records scheduled firings."""

    @abstractmethod
    def add_firings(
        self, cron: CronTask, kind: FiringKind, firings: Sequence[NewFiring]
    ) -> list[bool]:
        """Fire up to 500 times beside the schedule, in one transaction.

        Nothing happens unless the definition is stored in the version of ``cron``; it may be
        paused. Each firing is recorded once under (definition, kind, fire_time), and makes its
        task unless one with that metadata id is stored. The definition's row stays as it is.
        Answers in the order given, whether this call fired.
        """

    @abstractmethod
    def cron_firings(
        self, metadata_id: str, limit: int, kind: FiringKind, until: int | None = None
    ) -> list[CronFiring]:
        """Return recorded firings of one kind, the latest fire_time first, not after ``until``.

        Also those of a deleted definition; empty for one that never was.
        """

    @abstractmethod
    def fired_tasks(self, crons: Sequence[CronTask], last: int) -> dict[str, list[FiredTask]]:
        """Return what has become of earlier firings, by the definition's metadata id.

        Asked for are the tasks of the ``last`` scheduled firings before ``trigger_times``, the
        latest first, then manual ones of the last day. Tasks that are not stored are left out.
        Looks tasks up by their metadata ids: two statements, whatever the number of definitions.
        """

    @abstractmethod
    def prune_firings(self, limit: int, keep_ms: int) -> int:
        """Delete up to ``limit`` records that are older than ``keep_ms``, the oldest first.

        Returns how many.
        """
