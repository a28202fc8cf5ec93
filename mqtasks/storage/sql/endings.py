"""Ending an allocation otherwise than by success: locked rows, a history row, then the change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from mqtasks.model import AttemptOutcome, ExecuteResult, TaskStatus
from mqtasks.storage.contract import APPLIED, WriteReport
from mqtasks.storage.sql.base import Named
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.history import HistoryRow, record_attempts
from mqtasks.storage.sql.rows import Row, result_of

_WAITING: Final = frozenset({int(TaskStatus.CREATED), int(TaskStatus.SCHEDULED)})


class Ending(NamedTuple):
    """What a worker says about one allocation that has ended."""

    task_id: int
    epoch: int
    outcome: int
    """The AttemptOutcome for the history."""
    elapsed: int | None
    """Milliseconds since the executor was started; None: the row knows best."""
    error: bytes
    traceback: bytes
    result: ExecuteResult | None = None
    """The final result; None when the task is to run again."""


class Tally:
    """Which tasks of a batch were lost, and which ended as CANCELED."""

    def __init__(self) -> None:
        self.lost: set[int] = set()
        self.canceled: set[int] = set()

    def report(self, batch: Iterable[Named]) -> WriteReport:
        """Return what happened, in the order of the batch."""
        if not self.lost and not self.canceled:
            return APPLIED
        ids = [item.task_id for item in batch]
        return WriteReport(
            tuple(task_id for task_id in ids if task_id in self.lost),
            tuple(task_id for task_id in ids if task_id in self.canceled),
        )


def end_live(
    session: Session,
    runner_id: str,
    endings: Sequence[Ending],
    write: Callable[[Session, Sequence[Ending]], None],
    tally: Tally,
) -> None:
    """Lock the rows; write RUNNING ones by ``write``, end CANCEL_REQUESTED ones as CANCELED.

    RUNNING ones whose final outcome is CANCELED end as CANCELED too: their executor said so.
    ``endings`` come by ascending task id. What does not match is lost, unless the row shows that
    it was written before.
    """
    if not endings:
        return
    running, asked, missed = _sort_out(session, runner_id, endings)
    if running:
        _record(session, running)
        write(session, running)
    _cancel(session, asked, tally)
    _judge(session, runner_id, missed, tally)


def settle(session: Session, runner_id: str, endings: Sequence[Ending], tally: Tally) -> None:
    """Find what became of a batch of successes that did not match as a whole."""
    unsettled = _judge(session, runner_id, endings, tally)
    if unsettled:
        _, asked, missed = _sort_out(session, runner_id, unsettled)
        _cancel(session, asked, tally)
        tally.lost.update(item.task_id for item in missed)


def _sort_out(
    session: Session, runner_id: str, endings: Sequence[Ending]
) -> tuple[list[Ending], list[Ending], list[Ending]]:
    """Lock rows; return which are RUNNING here, which are to be canceled, and the others."""
    rows = {
        row[0]: row for row in session.rows_in("lock_tasks", [item.task_id for item in endings])
    }
    running: list[Ending] = []
    asked: list[Ending] = []
    missed: list[Ending] = []
    for item in endings:
        row = rows.get(item.task_id)
        if row is None or (row[2], row[3]) != (runner_id, item.epoch):
            missed.append(item)
        elif row[1] == TaskStatus.CANCEL_REQUESTED or (
            row[1] == TaskStatus.RUNNING and _gave_up(item)
        ):
            asked.append(item)
        elif row[1] == TaskStatus.RUNNING:
            running.append(item)
        else:
            missed.append(item)
    return running, asked, missed


def _gave_up(item: Ending) -> bool:
    return item.outcome == AttemptOutcome.CANCELED and item.result is not None


def _judge(
    session: Session, runner_id: str, endings: Sequence[Ending], tally: Tally
) -> list[Ending]:
    """Say of writes that matched nothing whether they were applied before, or are lost (P10).

    Returns those whose row is CANCEL_REQUESTED.
    """
    if not endings:
        return []
    ids = [item.task_id for item in endings]
    rows = {row[0]: row for row in session.rows_in("outcomes", ids)}
    again = [item.task_id for item in endings if item.result is None]
    past = {(row[0], row[1]): row for row in session.rows_in("past_attempts", again)}
    asked: list[Ending] = []
    for item in endings:
        row = rows.get(item.task_id)
        if row is not None and (row[2], row[3]) == (runner_id, item.epoch):
            if row[1] == TaskStatus.CANCELED:
                tally.canceled.add(item.task_id)
                continue
            if row[1] == TaskStatus.CANCEL_REQUESTED:
                asked.append(item)
                continue
        if not _shows(row, past.get((item.task_id, item.epoch)), runner_id, item):
            tally.lost.add(item.task_id)
    return asked


def _shows(row: Row | None, past: Row | None, runner_id: str, item: Ending) -> bool:
    """Return whether a row shows the very outcome that was asked for."""
    if row is None or row[3] != item.epoch:
        return False
    if item.result is None:
        return row[1] in _WAITING and past is not None and past[2:] == (runner_id, item.outcome)
    return (
        row[1] == TaskStatus.COMPLETED
        and row[2] == runner_id
        and row[4] is not None
        and result_of(*row[4:]) == item.result
    )


def _cancel(session: Session, endings: Sequence[Ending], tally: Tally) -> None:
    """End locked rows as CANCELED; what the executor said goes to the history (P9)."""
    if endings:
        outcome = int(AttemptOutcome.CANCELED)
        _record(session, [item._replace(outcome=outcome) for item in endings])
        session.run_in("end_canceled", [item.task_id for item in endings])
        tally.canceled.update(item.task_id for item in endings)


def _record(session: Session, endings: Sequence[Ending]) -> None:
    rows: list[HistoryRow] = [
        (item.task_id, item.outcome, item.elapsed, item.error, item.traceback) for item in endings
    ]
    record_attempts(session, rows)
