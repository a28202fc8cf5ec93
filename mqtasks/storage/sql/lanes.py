"""What the allocator looks at: due rows, lanes, loads, signatures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from mqtasks.model import LIVE, AsyncTask
from mqtasks.storage.contract import LaneLoad, LaneSample
from mqtasks.storage.sql.base import SqlBase, nothing, when_disabled
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.queries import template
from mqtasks.storage.sql.rows import signature_from

_SEEKS: Final = 100
"""Lanes looked at by one statement."""
LIVE_STATUSES: Final = tuple(sorted(map(int, LIVE)))


class SqlLanes(SqlBase):
    """See `QueueOperations`, the scheduler's side; allocating is `SqlAllocate`."""

    @when_disabled(int)
    def promote_due(self, limit: int) -> int:
        """Turn up to ``limit`` due SCHEDULED rows into CREATED; return how many."""

        def work(session: Session) -> int:
            due = sorted(row[0] for row in session.rows("due", limit))
            return session.run_in("promote", due)

        return self._db.transact(work)

    @when_disabled(nothing)
    def next_due_in_ms(self) -> int | None:
        """Return milliseconds until the earliest SCHEDULED row is due; None = none."""
        first = self._db.read(lambda session: session.one("next_due"))
        return None if first is None else first[0]

    @when_disabled(list[int])
    def lanes(self, after: int, limit: int) -> list[int]:
        """Return up to ``limit`` lanes > ``after`` that hold CREATED rows, ascending."""
        return self._db.read(lambda session: session.lanes(after, limit)) if limit > 0 else []

    @when_disabled(list[AsyncTask])
    def lane_tasks(self, lane: int, limit: int) -> list[AsyncTask]:
        """Return the first CREATED rows of a lane: highest priority, then run_at, then id."""
        return self._db.read(lambda session: session.tasks("lane_tasks", lane, limit))

    @when_disabled(list[LaneLoad])
    def live_load(self) -> list[LaneLoad]:
        """Return how many live rows each runner owns, by lane."""
        counts = self._db.read(live_counts)
        return [LaneLoad(runner, lane, counts[runner, lane]) for runner, lane in sorted(counts)]

    @when_disabled(list[LaneSample])
    def lane_signatures(self, lanes: Sequence[int]) -> list[LaneSample]:
        """Return the signature of lanes that have live or CREATED rows."""

        def work(session: Session) -> list[LaneSample]:
            found = {}
            wanted = sorted(set(lanes))
            for start in range(0, len(wanted), _SEEKS):
                part = wanted[start : start + _SEEKS]
                one = session.text("created_sample")
                samples = session.rows(template(" UNION ALL ".join([one] * len(part))), *part)
                for lane, executor, options in samples:
                    found[lane] = signature_from(executor, options)
            for lane, executor, options in live_samples(session, set(lanes) - found.keys()):
                found[lane] = signature_from(executor, options)
            return [LaneSample(lane, found[lane]) for lane in sorted(found)]

        return self._db.read(work)


def live_counts(session: Session) -> dict[tuple[str, int], int]:
    """Return the number of live rows by (runner, lane)."""
    counts: dict[tuple[str, int], int] = {}
    for status in LIVE_STATUSES:
        for runner, lane, count in session.rows("live_load", status):
            counts[runner, lane] = counts.get((runner, lane), 0) + count
    return counts


def live_samples(session: Session, lanes: Iterable[int]) -> list[tuple[int, str, bytes]]:
    """Return (lane, executor, options) of one live row of each lane that has any."""
    lane_of = {row[1]: row[0] for row in session.rows_in("live_samples", sorted(lanes))}
    rows = session.rows_in("signatures", sorted(lane_of))
    return [(lane_of[task_id], executor, options) for task_id, executor, options in rows]
