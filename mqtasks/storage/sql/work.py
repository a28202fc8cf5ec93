"""The worker's side of the queue: every write fenced by runner and epoch (P10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from mqtasks.model import AttemptOutcome, ResultCode, TaskEpoch
from mqtasks.storage.checks import checked_result
from mqtasks.storage.contract import (
    APPLIED,
    UNCOUNTED,
    Completion,
    Owned,
    RetryRequest,
    WriteReport,
)
from mqtasks.storage.sql.base import SqlBase, by_id, lost_when_disabled, when_disabled
from mqtasks.storage.sql.dialect import BATCH, Session
from mqtasks.storage.sql.endings import Ending, Tally, end_live, settle
from mqtasks.storage.sql.rows import stored_error

_ONE_STATEMENT_BYTES: Final = 1_000_000
"""Results that fit into one statement everywhere."""


class SqlWork(SqlBase):
    """See `QueueOperations`, the worker's side; signs of life are `SqlLife`."""

    @when_disabled(list[Owned])
    def owned(self, runner_id: str, generation: int) -> list[Owned]:
        """Return every live row of this generation of a runner, payloads left out."""
        rows = self._db.read(lambda session: session.rows("owned", runner_id, generation))
        return [Owned(*row) for row in sorted(rows)]

    @lost_when_disabled
    def complete_many(self, runner_id: str, completions: Sequence[Completion]) -> WriteReport:
        """End tasks as COMPLETED with their results; fenced."""
        batch = [checked(item) for item in completions]
        successes = by_id(item for item in batch if item.result.code is ResultCode.SUCCESS)
        failures = by_id(item for item in batch if item.result.code is not ResultCode.SUCCESS)

        def look(session: Session) -> WriteReport:
            tally = Tally()
            settle(session, runner_id, [_ending(item) for item in successes], tally)
            return tally.report(batch)

        def all_at_once(session: Session) -> WriteReport:
            tally = Tally()
            if successes and complete_in(session, runner_id, successes) < len(successes):
                settle(session, runner_id, [_ending(item) for item in successes], tally)
            endings = [_ending(item) for item in failures]
            end_live(session, runner_id, endings, _write_failures, tally)
            return tally.report(batch)

        size = sum(len(item.result.value) for item in successes)
        if failures or len(successes) > BATCH or size > _ONE_STATEMENT_BYTES:
            return self._db.transact(all_at_once)
        matched = self._db.single(lambda session: complete_in(session, runner_id, successes))
        return APPLIED if matched == len(successes) else self._db.transact(look)

    @lost_when_disabled
    def retry_many(self, runner_id: str, retries: Sequence[RetryRequest]) -> WriteReport:
        """Turn attempts into SCHEDULED, attempt + 1 (or crashes + 1, or neither); fenced."""
        delays = {item.task_id: item.delay_ms for item in reversed(retries)}
        endings = [
            Ending(
                item.task_id,
                item.epoch,
                int(item.outcome),
                item.elapsed_ms,
                stored_error(item.error) or b"",
                stored_error(item.traceback) or b"",
            )
            for item in by_id(retries)
        ]

        def write(session: Session, live: Sequence[Ending]) -> None:
            rows = [
                (item.task_id, delays[item.task_id], _counted(item), _crashed(item))
                for item in live
            ]
            session.run_each("retry", ("task_id", "delay", "counted", "crashed"), rows)

        def work(session: Session) -> WriteReport:
            tally = Tally()
            end_live(session, runner_id, endings, write, tally)
            return tally.report(retries)

        return self._db.transact(work)

    @lost_when_disabled
    def release_many(
        self, runner_id: str, releases: Sequence[TaskEpoch], reason: str
    ) -> WriteReport:
        """Give tasks back: CREATED, no runner, epoch and attempt kept; fenced."""

        def work(session: Session) -> WriteReport:
            tally = Tally()
            endings = [_release(item, reason) for item in by_id(releases)]
            end_live(session, runner_id, endings, _write_releases, tally)
            return tally.report(releases)

        return self._db.transact(work)

    @when_disabled(int)
    def release_unstarted(self, runner_id: str, generation: int, reason: str) -> int:
        """Give back every live row of the runner's generation that has not been started."""

        def work(session: Session) -> int:
            ids = sorted(row[0] for row in session.rows("unstarted", runner_id, generation))
            # Locked in the order of their ids, then looked at again.
            rows = session.rows_in("lock_tasks", ids)
            endings = [
                _release(TaskEpoch(task_id, epoch), reason)
                for task_id, _, runner, epoch, started_at in rows
                if runner == runner_id and not started_at
            ]
            tally = Tally()
            end_live(session, runner_id, endings, _write_releases, tally)
            return len(endings) - len(tally.lost)

        return self._db.transact(work)


def checked(item: Completion) -> Completion:
    """Return a completion whose result can be stored; raises InvalidArgument."""
    result = checked_result(item.result)
    return item if result is item.result else replace(item, result=result)


def complete_in(session: Session, runner_id: str, batch: Sequence[Completion]) -> int:
    """End RUNNING tasks as COMPLETED, SUCCESS; return how many matched."""
    rows = [
        (item.task_id, item.epoch, item.result.value or None, item.elapsed_ms) for item in batch
    ]
    return session.run_each("complete", ("task_id", "epoch", "result", "elapsed"), rows, runner_id)


def _ending(item: Completion) -> Ending:
    return Ending(
        item.task_id,
        item.epoch,
        int(item.outcome),
        item.elapsed_ms,
        stored_error(item.result.error) or b"",
        stored_error(item.traceback) or b"",
        item.result,
    )


def _release(item: TaskEpoch, reason: str) -> Ending:
    outcome = int(AttemptOutcome.RELEASED)
    return Ending(item.task_id, item.epoch, outcome, None, stored_error(reason) or b"", b"")


def _write_failures(session: Session, live: Sequence[Ending]) -> None:
    rows = [
        (item.task_id, item.error or None, _value(item), item.elapsed, _crashed(item))
        for item in live
    ]
    fields = ("task_id", "error", "result", "elapsed", "crashed")
    session.run_each("complete_failed", fields, rows)


def _counted(item: Ending) -> int:
    return int(item.outcome not in UNCOUNTED)


def _crashed(item: Ending) -> int:
    return int(item.outcome == AttemptOutcome.CRASHED)


def _value(item: Ending) -> bytes | None:
    return None if item.result is None else item.result.value or None


def _write_releases(session: Session, live: Sequence[Ending]) -> None:
    session.run_in("release", [item.task_id for item in live])
