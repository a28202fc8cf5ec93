"""Whose turn it is among tenants, from pass to pass: one task each, in turn.

Start-time fair queueing: each task that a tenant is given moves it one turn on; the tenant that is
furthest behind goes next. One that had nothing to run for a while comes in at the present turn: it
neither waits for what others did meanwhile, nor catches up on them.
"""

from __future__ import annotations

from collections.abc import Mapping


class TenantTurns:
    """Remembers turns. Bounded by the tenants that are ahead of the present turn."""

    def __init__(self) -> None:
        """Let all begin at the same turn."""
        self._turns: dict[str, int] = {}
        self._present = 0

    def of(self, tenant: str) -> int:
        """Return the turn at which a tenant would be served next."""
        return max(self._present, self._turns.get(tenant, 0))

    def served(self, counts: Mapping[str, int]) -> None:
        """Say how many tasks of each tenant a pass has placed."""
        last = self._present
        for tenant, count in counts.items():
            if count:
                turn = self.of(tenant) + count
                self._turns[tenant] = turn
                last = max(last, turn - 1)
        self._present = last
        self._turns = {key: turn for key, turn in self._turns.items() if turn > last}
