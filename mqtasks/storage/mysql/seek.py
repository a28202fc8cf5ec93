"""Finding the lanes that hold CREATED rows by index seeks, many in one statement (P7).

No optimizer here seeks from lane to lane by itself: it reads every row in between. MIN() over an
index range is one seek, so the lanes met before are asked for together, each with the gap in front
of it. Where nothing changed, one statement answers; a lane that is new costs one more. Where new
ones follow each other (a key for each task, say), the next index entries are read instead: a few
hundred, however many rows a lane holds.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Sequence
from typing import Final

from mqtasks.storage.checks import MAX_NUMBER
from mqtasks.storage.sql.rows import Row

SEEKS: Final = 64
"""Seeks in one statement."""
ENTRIES: Final = 512
"""Index entries read in one statement."""
_MOST: Final = 1024
_PATIENCE: Final = 100
"""Times a lane may be found empty before it is forgotten."""


class LaneMemory:
    """The lanes met lately. Only a guess what to ask for: answers never come from here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: list[int] = []
        self._empty: dict[int, int] = {}

    def behind(self, lane: int, count: int) -> list[int]:
        """Return up to ``count`` known lanes > ``lane``, ascending."""
        with self._lock:
            start = bisect.bisect_right(self._lanes, lane)
            return self._lanes[start : start + count]

    def met(self, lane: int) -> None:
        """Remember a lane that holds rows."""
        with self._lock:
            if lane in self._empty:
                self._empty[lane] = 0
            elif len(self._lanes) < _MOST:
                bisect.insort(self._lanes, lane)
                self._empty[lane] = 0

    def missed(self, lane: int) -> None:
        """Note that a lane is empty."""
        with self._lock:
            count = self._empty.get(lane)
            if count is None:
                return
            if count >= _PATIENCE:
                del self._empty[lane]
                self._lanes.remove(lane)
            else:
                self._empty[lane] = count + 1


def find_lanes(
    seek: Callable[[Sequence[tuple[int, int]]], list[Row]],
    memory: LaneMemory,
    after: int,
    limit: int,
    entries: Callable[[int], list[int]],
) -> list[int]:
    """Return up to ``limit`` lanes > ``after`` that hold rows, ascending.

    ``seek(ranges)`` returns (index, first lane in that range or None) for each range (low, high].
    ``entries(lane)`` returns the lanes of the first `ENTRIES` rows of lanes > ``lane``, ascending.
    """
    found: list[int] = []
    at = after
    strangers = 0
    while at < MAX_NUMBER and len(found) < limit:
        if strangers > 1:
            read = entries(at)
            fresh = list(dict.fromkeys(read))
            for lane in fresh:
                memory.met(lane)
            found += fresh
            if len(read) < ENTRIES:
                break
            at = fresh[-1]
            # One long lane fills what was read: behind it seeks do better.
            strangers = strangers if len(fresh) > SEEKS else 0
            continue
        known = memory.behind(at, min(SEEKS, limit - len(found)))
        lows = [at, *known]
        # Behind the last known lane only if all the others fit into this statement.
        highs = [*known, MAX_NUMBER] if len(known) < SEEKS else known
        ranges = list(zip(lows, highs, strict=False))
        for index, lane in sorted(seek(ranges)):
            high = ranges[index][1]
            if lane is not None:
                found.append(lane)
                memory.met(lane)
            if lane != high:
                memory.missed(high)
            if lane is not None and lane != high:
                at = lane  # a lane we did not know: go on right behind it
                strangers += 1
                break
            at = high
            strangers = 0
    return found[:limit]
