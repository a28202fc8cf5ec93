"""Cron rows and their triggers (P12)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from mqtasks.model import AsyncTask, CronTask
from mqtasks.storage.contract.records import Trigger


class CronOperations(ABC):
    """Definitions that create tasks, and the one transaction that triggers one."""

    @abstractmethod
    def add_cron_task(self, *crons: CronTask) -> int:
        """Insert definitions and return how many were new.

        A metadata id that is stored already is left alone, except that a deleted one comes back:
        the new definition replaces the old, version + 1, and trigger_times goes on counting.
        """

    @abstractmethod
    def query_cron_task(self) -> list[CronTask]:
        """Return all definitions that are not deleted, by metadata id."""

    @abstractmethod
    def find_cron_task(self, metadata_id: str) -> CronTask | None:
        """Return one definition; None if there is none, or it is deleted."""

    @abstractmethod
    def update_cron_task(self, cron: CronTask, task: AsyncTask) -> int:
        """Trigger once: advance the row to ``cron`` and insert ``task``, in one transaction.

        ``cron`` is the row as read, with next_time advanced and trigger_times + 1. Applied only
        if the stored trigger_times is ``cron.trigger_times - 1``, its version equals
        ``cron.version``, it is neither paused nor deleted, no task with ``task.metadata.id`` is
        stored, and no scheduled firing is recorded for the stored next_time, for which this one
        is. Returns 2 (rows written), or 0 and nothing is written.
        """

    @abstractmethod
    def trigger_many(self, triggers: Sequence[Trigger]) -> list[bool]:
        """Trigger up to 500 times in one transaction, each conditional.

        A trigger is applied if trigger_times, version and next_time are stored as it has read
        them, the definition is neither paused nor deleted, and its task's metadata id is not
        stored. Then the row moves on to next_time, the firing is recorded for its moment, and if
        it has a task that is created and trigger_times + 1. If a scheduled firing of this
        definition is recorded for the moment already, only the row moves on.

        Several triggers of one definition may follow each other, each with the row that the one
        before leaves. Answers in the order given, whether the firing was recorded; a loser
        (triggered, edited or paused meanwhile) harms no other.
        """

    @abstractmethod
    def due_cron(self, limit: int) -> list[CronTask]:
        """Return unpaused definitions with next_time <= now, earliest first. Index range."""

    @abstractmethod
    def next_cron_in_ms(self) -> int | None:
        """Return milliseconds until the next unpaused definition is due; None = there is none."""

    @abstractmethod
    def edit_cron_task(self, cron: CronTask) -> bool:
        """Replace a definition if its version still is ``cron.version``; version + 1.

        Writes all but the id, trigger_times and created_at. False if it was edited, deleted or
        never there.
        """

    @abstractmethod
    def delete_cron_task(self, metadata_id: str) -> bool:
        """Delete a definition softly: its trigger_times survives. False if there is none."""
