"""Taking tasks from runners that may not have them any more (P4, P8, P14).

Every rescue first fences the runner's row in the same transaction. After that nobody can give the
runner more tasks, so its live rows can be listed without locks, locked by ascending id, and judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mqtasks.model import (
    AttemptOutcome,
    Leadership,
    RunnerState,
    TaskEpoch,
    TaskStatus,
    options_from_bytes,
)
from mqtasks.storage.checks import LEASE_LAPSED, RUNNER_GONE, cap_error
from mqtasks.storage.contract import Orphans, RescueReport
from mqtasks.storage.sql.allocate import demand_leadership
from mqtasks.storage.sql.base import SqlBase, by_id, nothing, when_disabled
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.history import record_attempts
from mqtasks.storage.sql.lanes import LIVE_STATUSES


class LiveRow(NamedTuple):
    """What a rescue knows of a live row; columns of ``lock_live``."""

    task_id: int
    epoch: int
    status: int
    generation: int
    started_at: int
    last_heartbeat: int
    allocated_at: int
    crashes: int
    reassigned: int
    options: bytes
    now: int


class SqlRescue(SqlBase):
    """See `RunnerOperations`; runner rows themselves are `SqlRunners`."""

    @when_disabled(nothing)
    def report_dead(
        self,
        runner_id: str,
        generation: int,
        started: Sequence[TaskEpoch],
        max_crashes: int,
        cause: str = "",
    ) -> RescueReport | None:
        """Stop a runner whose process is known dead and rescue its tasks at once."""
        handed_over = {(item.task_id, item.epoch) for item in started}

        def work(session: Session) -> RescueReport | None:
            if not session.run("fence_runner", runner_id, generation):
                return None
            return rescue(
                session,
                runner_id,
                lambda row: (row.task_id, row.epoch) in handed_over,
                max_crashes,
                cause or RUNNER_GONE,
            )

        return self._db.transact(work)

    @when_disabled(nothing)
    def fence_lapsed(
        self, leadership: Leadership, runner_id: str, generation: int, max_crashes: int
    ) -> RescueReport | None:
        """Fence one runner whose lease has lapsed and rescue its tasks."""

        def work(session: Session) -> RescueReport | None:
            demand_leadership(session, leadership)
            if session.stalled or not session.run("fence_lapsed", runner_id, generation):
                return None
            return rescue(session, runner_id, was_started, max_crashes, LEASE_LAPSED)

        return self._db.transact(work)

    @when_disabled(list[Orphans])
    def orphans(self) -> list[Orphans]:
        """Return runner ids that own live rows but are STOPPED or have no row."""

        def work(session: Session) -> list[Orphans]:
            owners = {
                row[0] for status in LIVE_STATUSES for row in session.rows("owning_runners", status)
            }
            states: dict[str, int] = dict(session.rows("runner_states"))
            return [
                Orphans(runner_id, runner_id in states)
                for runner_id in sorted(owners)
                if states.get(runner_id, RunnerState.STOPPED) == RunnerState.STOPPED
            ]

        return self._db.read(work)

    @when_disabled(RescueReport)
    def rescue_orphans(
        self,
        leadership: Leadership,
        runner_id: str,
        max_crashes: int,
        silent_ms: int = 0,
        spared: Sequence[int] = (),
    ) -> RescueReport:
        """Rescue live rows of a runner that is STOPPED, or has no row."""
        kept = frozenset(spared)

        def is_silent(row: LiveRow) -> bool:
            return row.last_heartbeat < row.now - silent_ms and row.task_id not in kept

        def work(session: Session) -> RescueReport:
            demand_leadership(session, leadership)
            runner = session.one("lock_runner", runner_id)
            if runner is None:
                if session.stalled:
                    return RescueReport()
                return rescue(
                    session, runner_id, _seems_started, max_crashes, RUNNER_GONE, doomed=is_silent
                )
            if runner[2] != RunnerState.STOPPED:
                return RescueReport()
            return rescue(session, runner_id, was_started, max_crashes, RUNNER_GONE)

        return self._db.transact(work)

    @when_disabled(int)
    def absolve(self, runner_id: str, tasks: Sequence[TaskEpoch]) -> int:
        """Take back crash charges of a runner that was fenced but lives; return how many."""
        wanted = {(item.task_id, item.epoch) for item in tasks}
        ids = sorted({item.task_id for item in tasks})

        def work(session: Session) -> int:
            session.rows_in("lock_tasks", ids)
            crashed = [
                TaskEpoch(*row)
                for row in session.rows_in("crashed_attempts", ids, runner_id)
                if row in wanted
            ]
            left = crashed
            while left:  # one round, unless a task was charged for several epochs
                batch = by_id(left)
                rows = [(item.task_id, item.epoch) for item in batch]
                session.run_each("absolve_attempts", ("task_id", "epoch"), rows)
                session.run_in("absolve_tasks", [item.task_id for item in batch])
                left = [item for item in left if item not in batch]
            return len(crashed)

        return self._db.transact(work) if ids else 0


def rescue(
    session: Session,
    runner_id: str,
    started: Callable[[LiveRow], bool],
    max_crashes: int,
    cause: str,
    *,
    doomed: Callable[[LiveRow], bool] = lambda _: True,
) -> RescueReport:
    """Rescue the live rows of a fenced runner; ``started`` says which are charged.

    ``cause`` becomes the error of the attempts that end so.
    """
    ids = sorted(row[0] for row in session.rows("live_ids", runner_id))
    rows = [LiveRow(*row) for row in session.rows_in("lock_live", ids, runner_id)]
    rows = [row for row in rows if doomed(row)]
    if not rows:
        return RescueReport()
    crashed = {row.task_id: int(started(row)) for row in rows}
    requeued: list[tuple[int, int]] = []
    canceled: list[tuple[int, int]] = []
    failed: list[tuple[int, int, bytes]] = []
    for row in rows:
        charge = crashed[row.task_id]
        if row.status == TaskStatus.CANCEL_REQUESTED:
            canceled.append((row.task_id, charge))
            continue
        most = options_from_bytes(row.options).max_reassign_times
        error = cap_error(row.crashes + charge, max_crashes, row.reassigned + 1, most)
        if error is None:
            requeued.append((row.task_id, charge))
        else:
            failed.append((row.task_id, charge, error.encode()))
    outcomes = (int(AttemptOutcome.LOST), int(AttemptOutcome.CRASHED))
    error_text = cause.encode()
    record_attempts(
        session,
        [(row.task_id, outcomes[crashed[row.task_id]], None, error_text, b"") for row in rows],
    )
    fields = ("task_id", "crashed")
    session.run_each("rescue", fields, requeued)
    session.run_each("rescue_canceled", fields, canceled)
    session.run_each("rescue_failed", (*fields, "error"), failed)
    return RescueReport(*(tuple(row[0] for row in rows) for rows in (requeued, canceled, failed)))


def was_started(row: LiveRow) -> bool:
    """Return whether storage knows that the executor of this allocation was started."""
    return row.started_at > 0


def _seems_started(row: LiveRow) -> bool:
    return row.started_at > 0 or row.last_heartbeat > row.allocated_at
