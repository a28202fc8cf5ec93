"""Giving tasks to runners, in one short transaction that cannot outlive its leadership (P6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from mqtasks.errors import MQTasksError, NotLeader
from mqtasks.model import Leadership, RunnerState, TaskStatus
from mqtasks.storage.contract import Allocation, ExecutorLimit
from mqtasks.storage.sql.base import SqlBase, by_id, when_disabled
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.lanes import live_counts, live_samples

_LANES_REMEMBERED: Final = 10_000
_FIELDS: Final = ("task_id", "epoch", "runner", "generation")


class _Mismatch(MQTasksError):
    """Some rows of an optimistic allocation did not match; it was rolled back."""

    def __init__(self, *, repeated: bool) -> None:
        super().__init__("some tasks changed meanwhile")
        self.repeated = repeated


class SqlAllocate(SqlBase):
    """See `QueueOperations.allocate_many`."""

    _lane_executors: dict[int, str]
    """Executor by lane, as far as met. Never stale: the lane is a hash that includes it."""

    @when_disabled(frozenset[int])
    def allocate_many(
        self,
        allocations: Sequence[Allocation],
        leadership: Leadership | None = None,
        limits: Sequence[ExecutorLimit] = (),
    ) -> frozenset[int]:
        """Give tasks to runners and return the ids that were given."""
        if not allocations:
            return frozenset()
        statement = "allocate_by_hand" if leadership is None else "allocate"
        repeated = False

        def admitted(session: Session) -> list[Allocation]:
            demand_leadership(session, leadership)
            batch = _to_open_runners(session, allocations, by_hand=leadership is None)
            return by_id(self._within(session, batch, limits) if limits else batch)

        def optimistic(session: Session) -> frozenset[int]:
            batch = admitted(session)
            if _give(session, statement, batch) < len(batch) or session.repeated:
                raise _Mismatch(repeated=session.repeated)
            return frozenset(item.task_id for item in batch)

        def careful(session: Session) -> frozenset[int]:
            batch = admitted(session)
            ids = [item.task_id for item in batch]
            rows = {row[0]: row for row in session.rows_in("lock_tasks", ids)}
            free = [item for item in batch if _is_free(rows, item, by_hand=leadership is None)]
            _give(session, statement, free)
            given = {item.task_id for item in free}
            if repeated or session.repeated:
                given.update(_already_given(session, allocations))
            return frozenset(given)

        try:
            return self._db.transact(optimistic)
        except _Mismatch as mismatch:
            repeated = mismatch.repeated
            return self._db.transact(careful)

    def _within(
        self, session: Session, batch: Sequence[Allocation], limits: Sequence[ExecutorLimit]
    ) -> list[Allocation]:
        """Drop allocations that would exceed a limit. Live tasks are counted by lane: that is
        index only, and the lane tells the executor.
        """  # noqa: D205 - one thought
        live: Counter[str] = Counter()
        by_lane: Counter[int] = Counter()
        for (_, lane), count in live_counts(session).items():
            by_lane[lane] += count
        executors = self._executors(session, by_lane)
        for lane, count in by_lane.items():
            live[executors.get(lane, "")] += count
        room: dict[str, int] = {}
        for limit in limits:
            left = limit.most - live[limit.executor]
            room[limit.executor] = min(left, room.get(limit.executor, left))
        ids = sorted({item.task_id for item in batch})
        known = {row[0]: row for row in session.rows_in("executors_of", ids)}
        kept: list[Allocation] = []
        for item in batch:
            row = known.get(item.task_id)
            if row is not None and row[1] in room and row[2] == TaskStatus.CREATED:
                if room[row[1]] <= 0:
                    continue
                room[row[1]] -= 1
            kept.append(item)
        return kept

    def _executors(self, session: Session, lanes: Iterable[int]) -> dict[int, str]:
        """Return the executor of each lane that has live rows."""
        remembered = self._lane_executors
        known = {lane: remembered[lane] for lane in lanes if lane in remembered}
        for lane, executor, _ in live_samples(session, set(lanes) - known.keys()):
            known[lane] = executor
            if len(remembered) < _LANES_REMEMBERED:
                remembered[lane] = executor
        return known


def demand_leadership(session: Session, leadership: Leadership | None) -> None:
    """Lock the leader row and raise NotLeader unless the leadership is still held."""
    if leadership is None:
        return
    row = session.one("leader", leadership.name)
    if row is None or (row[0], row[1]) != (leadership.holder, leadership.term) or not row[2]:
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
        if (item.runner_id, item.generation) in taking
        or (by_hand and item.runner_id not in known)
    ]


def _give(session: Session, statement: str, batch: Sequence[Allocation]) -> int:
    rows = [(item.task_id, item.epoch, item.runner_id, item.generation) for item in batch]
    return session.run_each(statement, _FIELDS, rows) if rows else 0


def _is_free(rows: dict[int, tuple[int, ...]], item: Allocation, *, by_hand: bool) -> bool:
    row = rows.get(item.task_id)
    if row is None or row[3] != item.epoch:
        return False
    if row[1] == TaskStatus.CREATED:
        return True
    return by_hand and row[1] == TaskStatus.RUNNING and row[2] != item.runner_id


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
