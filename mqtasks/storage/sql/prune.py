"""Deleting what is past its retention, in small chunks by primary key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mqtasks.errors import MQTasksError
from mqtasks.storage.contract import PruneReport
from mqtasks.storage.sql.base import SqlBase, when_disabled
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.tasks import delete_in

_ROUNDS: Final = 8
"""Times a chunk may meet links that were not there a moment ago."""


class _Needed(MQTasksError):
    """A row was deleted that somebody has just begun to wait for; it was rolled back."""


class SqlPrune(SqlBase):
    """See `TaskRecords.prune`."""

    @when_disabled(lambda: PruneReport(0, 0))
    def prune(self, from_id: int, limit: int, success_ms: int, failure_ms: int) -> PruneReport:
        """Delete ended rows past their retention, one chunk in id order."""

        def work(session: Session) -> PruneReport:
            chunk = session.rows("prune_chunk", success_ms, failure_ms, from_id, limit + 1)
            more = len(chunk) > limit
            chunk = chunk[:limit]
            past = [row[0] for row in chunk if row[2] is not None and row[2] <= row[3]]
            # Only victims are locked, and judged again: one may have been requeued meanwhile.
            victims = session.rows_in("lock_victims", past, success_ms, failure_ms)
            deleted = _delete(session, [row[0] for row in victims])
            if not more or not chunk:
                return PruneReport(deleted, 0)
            floor = session.rows("shortest_retention")[0][0]
            shortest = min(success_ms, failure_ms, success_ms if floor is None else floor)
            last_id, created_at, _, now = chunk[-1]
            return PruneReport(deleted, 0 if created_at > now - shortest else last_id + 1)

        for _ in range(_ROUNDS):
            try:
                return self._db.transact(work)
            except _Needed:
                continue
        return PruneReport(0, from_id)  # the next sweep will


def _delete(session: Session, victims: Sequence[int]) -> int:
    """Delete locked rows, but for those whose results somebody may still ask for."""
    needed = _needed(session, victims)
    victims = [task_id for task_id in victims if task_id not in needed]
    deleted = delete_in(session, victims)
    # Deleting has waited for callers who had links to these rows, but had not committed them.
    if _needed(session, victims):
        raise _Needed
    return deleted


def _needed(session: Session, victims: Sequence[int]) -> set[int]:
    return {row[0] for row in session.rows_in("needed_parents", victims)}
