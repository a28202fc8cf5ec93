"""Leases with a term (P6)."""

from __future__ import annotations

from mqtasks.model import Leadership, LeaseInfo, checked_id
from mqtasks.storage.sql.base import SqlBase, nothing, when_disabled
from mqtasks.storage.sql.dialect import Session


class SqlLeases(SqlBase):
    """See `LeaseOperations`."""

    @when_disabled(nothing)
    def acquire_lease(self, name: str, holder: str, ttl_ms: int) -> Leadership | None:
        """Take the lease if it is free, lapsed or already this holder's; term + 1."""
        checked_id("lease.name", name)
        checked_id("lease.holder", holder)

        def work(session: Session) -> Leadership | None:
            row = session.one("lock_lease", name)
            if row is None:
                session.run("insert_lease", name, holder, ttl_ms)
                return Leadership(name, holder, 1)
            if row[0] != holder and row[2] > 0:
                return None
            session.run("take_lease", holder, ttl_ms, name)
            return Leadership(name, holder, row[1] + 1)

        return self._db.transact(work)

    @when_disabled(bool)
    def renew_lease(self, leadership: Leadership, ttl_ms: int) -> bool:
        """Extend to now + ttl_ms if holder and term still match, even if it has just lapsed."""
        params = (ttl_ms, leadership.name, leadership.holder, leadership.term)
        return self._db.single(lambda session: session.run("renew_lease", *params)) > 0

    @when_disabled(bool)
    def release_lease(self, leadership: Leadership) -> bool:
        """Give the lease up, if holder and term still match; the term is kept. Idempotent."""
        params = (leadership.name, leadership.term, leadership.holder)
        return self._db.single(lambda session: session.run("release_lease", *params)) > 0

    @when_disabled(nothing)
    def lease(self, name: str) -> LeaseInfo | None:
        """Return who holds a lease; None if nobody ever has."""
        row = self._db.read(lambda session: session.one("lease", name))
        return None if row is None else LeaseInfo(name, *row)
