"""Finding the lanes of every tenant soon, however many lanes another one has (P7, S11)."""

from __future__ import annotations

from typing import Final

from mqtasks.model import last_lane_beside
from mqtasks.storage.contract import QueueOperations

_STATEMENTS: Final = 8
"""Reads of one look, at most; the next look goes on behind it."""
_CHUNK: Final = 64
"""Lanes of one read."""


class TenantProbe:
    """Looks at some lanes of each tenant in turn, and steps over the others.

    A tenant with more lanes than one read holds shows its first ones, and others in turn.
    """

    def __init__(self, storage: QueueOperations) -> None:
        """Start at the lowest lane."""
        self._storage = storage
        self._cursor = 0
        self._deep: dict[int, int] = {}

    def look(self) -> list[int]:
        """Return lanes of as many tenants as a few reads find, going round all of them."""
        found: list[int] = []
        start = at = self._cursor
        wrapped = False
        reads = 0
        while reads < _STATEMENTS:
            chunk = self._storage.lanes(at, _CHUNK)
            reads += 1
            found += chunk
            if len(chunk) < _CHUNK:
                at = 0
                if wrapped or not start:
                    break
                wrapped = True
                continue
            at = last_lane_beside(chunk[-1])
            if last_lane_beside(chunk[0]) == at:
                found += self._deeper(chunk[-1], at)
                reads += 1
            if wrapped and at >= start:
                break
        self._cursor = at
        return found

    def _deeper(self, after: int, last: int) -> list[int]:
        """Return further lanes of a tenant that has many, others at each look."""
        lanes = self._storage.lanes(max(after, self._deep.get(last, 0)), _CHUNK)
        lanes = [lane for lane in lanes if lane <= last]
        if len(lanes) == _CHUNK:
            self._deep[last] = lanes[-1]
        else:
            self._deep.pop(last, None)
        return lanes
