"""Giving tasks to runners, in one short transaction that cannot outlive its leadership (P6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from mqtasks.errors import MQTasksError, NotLeader
from mqtasks.model import (
    AttemptOutcome,
    LaneSignature,
    Leadership,
    RunnerState,
    TaskStatus,
)
from mqtasks.storage.contract import Allocation, Limit
from mqtasks.storage.quota import Quota, buckets_of
from mqtasks.storage.reservations import Reservations
from mqtasks.storage.sql.base import SqlBase, by_id, when_disabled
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.history import record_attempts
from mqtasks.storage.sql.lanes import live_counts, live_samples
from mqtasks.storage.sql.queries import template
from mqtasks.storage.sql.rows import Row, signature_from

_LANES_REMEMBERED: Final = 100_000
_SWEEP: Final = 200
"""Allocations under rates after which buckets that are full are dropped."""
_BUCKETS: Final = 400
"""Buckets written by one statement."""
_FIELDS: Final = ("task_id", "epoch", "runner", "generation")


class _Mismatch(MQTasksError):
    """Some rows of an optimistic allocation did not match; it was rolled back."""

    def __init__(self, *, repeated: bool) -> None:
        super().__init__("some tasks changed meanwhile")
        self.repeated = repeated


class SqlAllocate(SqlBase):
    """See `QueueOperations.allocate_many`."""

    _signatures: dict[int, LaneSignature]
    """By lane, as far as met. Never stale: the lane is a hash of its signature."""
    _rated: int
    """How many allocations took tokens."""

    @when_disabled(frozenset[int])
    def allocate_many(
        self,
        allocations: Sequence[Allocation],
        leadership: Leadership | None = None,
        limits: Sequence[Limit] = (),
    ) -> frozenset[int]:
        """Give tasks to runners and return the ids that were given."""
        if not allocations:
            return frozenset()

        def careful(session: Session) -> frozenset[int]:
            return self._carefully(session, allocations, leadership, limits, repeated=repeated)

        repeated = False
        if leadership is None:
            return self._db.transact(careful)
        try:
            return self._db.transact(
                lambda session: self._optimistically(session, allocations, leadership, limits)
            )
        except _Mismatch as mismatch:
            repeated = mismatch.repeated
            return self._db.transact(careful)

    def _optimistically(
        self,
        session: Session,
        allocations: Sequence[Allocation],
        leadership: Leadership,
        limits: Sequence[Limit],
    ) -> frozenset[int]:
        """Write without a look at the rows; raise _Mismatch, undoing all, if one has moved."""
        demand_leadership(session, leadership, alone=bool(limits))
        batch = _to_open_runners(session, allocations, by_hand=False)
        if limits:
            rows = session.rows_in("executors_of", _ids(batch))
            batch = self._within(session, rows, _free(rows, batch, by_hand=False), limits)
        batch = by_id(batch)
        if _give(session, "allocate", batch) < len(batch) or session.repeated:
            raise _Mismatch(repeated=session.repeated)
        return frozenset(item.task_id for item in batch)

    def _carefully(
        self,
        session: Session,
        allocations: Sequence[Allocation],
        leadership: Leadership | None,
        limits: Sequence[Limit],
        *,
        repeated: bool,
    ) -> frozenset[int]:
        """Lock the rows and write those that may be given."""
        by_hand = leadership is None
        demand_leadership(session, leadership, alone=bool(limits))
        batch = _to_open_runners(session, allocations, by_hand=by_hand)
        locked = session.rows_in("lock_tasks", _ids(batch))
        batch = _free(locked, batch, by_hand=by_hand)
        if limits:
            rows = session.rows_in("executors_of", _ids(batch))
            batch = self._within(session, rows, batch, limits)
        if by_hand:
            _record_displaced(session, locked, batch)
        _give(session, "allocate_by_hand" if by_hand else "allocate", by_id(batch))
        given = {item.task_id for item in batch}
        if repeated or session.repeated:
            given.update(_already_given(session, allocations))
        return frozenset(given)

    def _within(
        self,
        session: Session,
        rows: Iterable[Row],
        batch: Sequence[Allocation],
        limits: Sequence[Limit],
    ) -> list[Allocation]:
        """Drop allocations that a limit forbids; ``rows`` are those of ``executors_of``.

        Live tasks are counted by runner and lane, which is index only; the lane tells the rest.
        """
        known = {row[0]: row for row in rows}
        live_executors: Counter[str] = Counter()
        live_keys: Counter[str] = Counter()
        reservations = Reservations(limits)
        live = live_counts(session)
        signatures = self._signatures_of(session, {lane for _, lane in live})
        for (runner_id, lane), count in live.items():
            signature = signatures.get(lane)
            if signature is not None:  # else its last row has ended since it was counted
                live_executors[signature.executor] += count
                live_keys[signature.key] += count
                reservations.take(runner_id, signature, count)
        names = buckets_of(limits)
        now_us = session.now() * 1000 if names else 0
        buckets: dict[str, int] = dict(session.rows_in("rate_buckets", names)) if names else {}
        quota = Quota(
            limits, live_executors, live_keys, reservations, buckets=buckets, now_us=now_us
        )
        kept: list[Allocation] = []
        for item in batch:
            _, status, _, _, executor, options, lane = known[item.task_id]
            signature = self._remember(lane, executor, options)
            admits = quota.admits if status == TaskStatus.CREATED else quota.moves
            if admits(item.runner_id, signature):
                kept.append(item)
        self._take_tokens(session, quota.changed(), now_us)
        return kept

    def _take_tokens(self, session: Session, changed: dict[str, int], now_us: int) -> None:
        """Write buckets. The leader row is locked, so nobody else reads or writes them."""
        if not changed:
            return
        self._rated += 1
        if self._rated % _SWEEP == 0:
            session.run("forget_buckets", now_us)
        names = list(changed)
        for start in range(0, len(names), _BUCKETS):
            part = names[start : start + _BUCKETS]
            write = template(session.text("set_buckets") + ", (?, ?)" * (len(part) - 1))
            session.run(write, *(value for name in part for value in (name, changed[name])))

    def _signatures_of(self, session: Session, lanes: AbstractSet[int]) -> dict[int, LaneSignature]:
        """Return the signature of each lane that has live rows."""
        remembered = self._signatures
        known = {lane: remembered[lane] for lane in lanes if lane in remembered}
        for lane, executor, options in live_samples(session, lanes - known.keys()):
            known[lane] = self._remember(lane, executor, options)
        return known

    def _remember(self, lane: int, executor: str, options: bytes) -> LaneSignature:
        signature = self._signatures.get(lane)
        if signature is None:
            signature = signature_from(executor, options)
            if len(self._signatures) >= _LANES_REMEMBERED:
                self._signatures.clear()
            self._signatures[lane] = signature
        return signature

    @when_disabled(dict[str, int])
    def rate_buckets(self, buckets: Sequence[str]) -> dict[str, int]:
        """Return when these token buckets will be full again: unix microseconds."""
        names = sorted(set(buckets))
        if not names:
            return {}
        return self._db.read(lambda session: dict(session.rows_in("rate_buckets", names)))


def demand_leadership(
    session: Session, leadership: Leadership | None, *, alone: bool = False
) -> None:
    """Lock the leader row and raise NotLeader unless the leadership is still held.

    ``alone``: let no other transaction of the same term pass before this one has ended. Whoever
    counts live tasks before adding some needs it: two that lead in one term would both count the
    same room.
    """
    if leadership is None:
        return
    row = session.one("lock_lease" if alone else "leader", leadership.name)
    if row is None or (row[0], row[1]) != (leadership.holder, leadership.term) or row[2] <= 0:
        raise NotLeader(leadership.holder, leadership.term)


def _to_open_runners(
    session: Session, allocations: Sequence[Allocation], *, by_hand: bool
) -> list[Allocation]:
    """Lock the runner rows; drop allocations to a runner that takes no tasks (P2)."""
    names = sorted({item.runner_id for item in allocations})
    rows = session.rows_in("lock_runners", names)
    known = {row[0] for row in rows}
    taking = {
        (runner_id, generation)
        for runner_id, generation, state, has_lease in rows
        if state == RunnerState.ACTIVE and has_lease
    }
    return [
        item
        for item in allocations
        if (item.runner_id, item.generation) in taking or (by_hand and item.runner_id not in known)
    ]


def _record_displaced(session: Session, locked: Iterable[Row], batch: Iterable[Allocation]) -> None:
    """Write the history of allocations that end because a RUNNING task changes hands."""
    given = {item.task_id for item in batch}
    record_attempts(
        session,
        [
            (row[0], int(AttemptOutcome.LOST), None, b"", b"")
            for row in locked
            if row[0] in given and row[1] == TaskStatus.RUNNING
        ],
    )


def _give(session: Session, statement: str, batch: Sequence[Allocation]) -> int:
    rows = [(item.task_id, item.epoch, item.runner_id, item.generation) for item in batch]
    return session.run_each(statement, _FIELDS, rows) if rows else 0


def _free(rows: Iterable[Row], batch: Iterable[Allocation], *, by_hand: bool) -> list[Allocation]:
    """Keep the first allocation of each task whose row may be given away.

    ``rows`` start with task_id, status, runner and epoch.
    """
    known = {row[0]: row for row in rows}
    free: dict[int, Allocation] = {}
    for item in batch:
        row = known.get(item.task_id)
        if row is None or row[3] != item.epoch or item.task_id in free:
            continue
        if row[1] == TaskStatus.CREATED or (
            by_hand and row[1] == TaskStatus.RUNNING and row[2] != item.runner_id
        ):
            free[item.task_id] = item
    return list(free.values())


def _ids(batch: Iterable[Allocation]) -> list[int]:
    return sorted({item.task_id for item in batch})


def _already_given(session: Session, allocations: Sequence[Allocation]) -> set[int]:
    """Return the ids that a try with an unknown outcome has given after all (P10)."""
    wanted = {item.task_id: item for item in allocations}
    return {
        task_id
        for task_id, status, runner, generation, epoch in session.rows_in("owners", sorted(wanted))
        if status == TaskStatus.RUNNING
        and (runner, generation, epoch)
        == (wanted[task_id].runner_id, wanted[task_id].generation, wanted[task_id].epoch + 1)
    }
