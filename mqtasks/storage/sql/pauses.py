"""Pauses in SQL."""

from __future__ import annotations

from mqtasks.model import Pause, PauseKind, checked_id
from mqtasks.storage.sql.base import SqlBase, when_disabled
from mqtasks.storage.sql.dialect import Session


class SqlPauses(SqlBase):
    """See `PauseOperations`."""

    @when_disabled(bool)
    def pause(self, kind: PauseKind, name: str, reason: str = "") -> bool:
        """Write a pause; return False, and change nothing, if there is one already."""
        checked_id("pause.name", name)

        def work(session: Session) -> bool:
            if session.rows("lock_pause", kind.value, name):
                return session.repeated  # written by the try before this one, perhaps
            session.run("insert_pause", kind.value, name, reason.encode())
            return True

        return self._db.transact(work)

    @when_disabled(bool)
    def resume(self, kind: PauseKind, name: str) -> bool:
        """Lift a pause; False if there is none. Idempotent."""
        run = self._db.single
        return run(lambda session: session.run("delete_pause", kind.value, name)) > 0

    @when_disabled(list[Pause])
    def pauses(self) -> list[Pause]:
        """Return all pauses by kind and name."""
        rows = self._db.read(lambda session: session.rows("pauses"))
        return [
            Pause(PauseKind(kind), name, bytes(reason).decode("utf-8", "replace"), at)
            for kind, name, reason, at in rows
        ]
