"""Leases with a term, in memory (P6)."""

from __future__ import annotations

from mqtasks.model import Leadership, LeaseInfo, checked_id
from mqtasks.storage.contract import LeaseOperations
from mqtasks.storage.memory.base import MemoryBase
from mqtasks.storage.memory.tables import LeaseRow


class MemoryLeases(MemoryBase, LeaseOperations):
    """See `LeaseOperations`."""

    def acquire_lease(self, name: str, holder: str, ttl_ms: int) -> Leadership | None:
        """Take the lease if it is free, lapsed or already this holder's; term + 1."""
        checked_id("lease.name", name)
        checked_id("lease.holder", holder)
        with self._transaction as now:
            lease = self._tables.leases.get(name)
            if lease is None:
                lease = self._tables.leases[name] = LeaseRow("", 0, 0)
            elif lease.holder != holder and lease.expires_at > now:
                return None
            lease.holder = holder
            lease.term += 1
            lease.expires_at = now + ttl_ms
            return Leadership(name, holder, lease.term)

    def renew_lease(self, leadership: Leadership, ttl_ms: int) -> bool:
        """Extend to now + ttl_ms if holder and term still match, even if it has just lapsed."""
        with self._transaction as now:
            lease = self._tables.leases.get(leadership.name)
            if lease is None or not _is_of(lease, leadership):
                return False
            lease.expires_at = now + ttl_ms
            return True

    def release_lease(self, leadership: Leadership) -> bool:
        """Give the lease up, if holder and term still match; the term is kept. Idempotent."""
        with self._transaction:
            lease = self._tables.leases.get(leadership.name)
            if lease is None or lease.term != leadership.term:
                return False
            if lease.holder not in {leadership.holder, ""}:
                return False
            # Without a holder, so that a renewal that was under way cannot bring it back.
            lease.holder = ""
            lease.expires_at = 0
            return True

    def lease(self, name: str) -> LeaseInfo | None:
        """Return who holds a lease; None if nobody ever has."""
        with self._transaction as now:
            lease = self._tables.leases.get(name)
            if lease is None:
                return None
            return LeaseInfo(name, lease.holder, lease.term, lease.expires_at - now)


def _is_of(lease: LeaseRow, leadership: Leadership) -> bool:
    return lease.holder == leadership.holder and lease.term == leadership.term
