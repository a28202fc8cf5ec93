"""Deleting what is past its retention, in small chunks by primary key."""

from __future__ import annotations

from mqtasks.storage.contract import PruneReport
from mqtasks.storage.sql.base import SqlBase, when_disabled
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.tasks import delete_in


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
            needed = {
                row[0]
                for row in session.rows_in("needed_parents", [victim[0] for victim in victims])
            }
            deleted = delete_in(session, [row[0] for row in victims if row[0] not in needed])
            if not more or not chunk:
                return PruneReport(deleted, 0)
            floor = session.rows("shortest_retention")[0][0]
            shortest = min(success_ms, failure_ms, success_ms if floor is None else floor)
            last_id, created_at, _, now = chunk[-1]
            return PruneReport(deleted, 0 if created_at > now - shortest else last_id + 1)

        return self._db.transact(work)
