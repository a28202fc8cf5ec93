"""Deadlines in SQL: noted before the task is stored, so that a crash in between loses none.

Each row of the table says when to look at a task. Whether its deadline is over is decided by the
task's own row, so that a note may be too early, doubled, or about a task that there is not.
Notes are locked before tasks, as creating in a caller's transaction does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from mqtasks.model import AsyncTask, NewTask, TaskStatus
from mqtasks.storage.contract.deadlines import DeadlineOperations
from mqtasks.storage.deadlines import Noted, judge, with_deadline
from mqtasks.storage.sql.base import SqlBase, when_disabled
from mqtasks.storage.sql.database import Database
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.queries import Template

_CHUNK: Final = 500
"""Notes in one statement."""


class SqlDeadlines(SqlBase, DeadlineOperations):
    """See `DeadlineOperations`."""

    @when_disabled(tuple[int, ...])
    def expire_due(self, limit: int) -> tuple[int, ...]:
        """End tasks as FAILED whose deadline is over and that nobody runs; return their ids."""
        if not self._db.read(lambda session: session.rows("due_deadlines", 1)):
            return ()
        return self._db.transact(lambda session: _expire(session, limit))


def note_deadlines_of(database: Database, tasks: Iterable[NewTask | AsyncTask]) -> None:
    """Note the deadlines, if there are any, of tasks that are about to be stored."""
    found = with_deadline(tasks)
    if found:
        database.transact(lambda session: note_deadlines(session, found))


def note_deadlines(session: Session, tasks: Sequence[Noted]) -> None:
    """Note the deadlines of tasks that are about to be stored."""
    if tasks:
        now = session.now()
        _note(session, {(task.metadata_id, task.look_at(now)) for task in tasks})


def _note(session: Session, notes: Iterable[tuple[str, int]]) -> None:
    ordered = sorted(notes)
    for start in range(0, len(ordered), _CHUNK):
        part = ordered[start : start + _CHUNK]
        text = session.text("note_deadlines").replace("{rows}", ",".join(["(?,?)"] * len(part)))
        session.run(Template(text), *(value for note in part for value in note))


def _expire(session: Session, limit: int) -> tuple[int, ...]:
    notes = session.rows("lock_due_deadlines", limit)
    names = sorted({row[0] for row in notes})
    ids = [row[1] for row in session.rows_in("known_ids", names)] if names else []
    ended: list[tuple[int, bytes]] = []
    waiting: list[int] = []
    later: list[tuple[str, int]] = []
    for task_id, name, status, options, created_at, now in session.rows_in(
        "lock_expiring", sorted(ids)
    ):
        error, again = judge(status, options, created_at, now)
        if error:
            ended.append((task_id, error.encode()))
            if status == TaskStatus.WAITING:
                waiting.append(task_id)
        elif again:
            later.append((name, again))
    session.run_each("expire", ("task_id", "error"), ended)
    session.run_in("drop_edges", waiting)
    _note(session, later)
    if names:
        text = session.text("delete_deadlines").replace("{in}", ",".join("?" * len(names)))
        session.run(Template(text), *names, max(row[1] for row in notes))
    return tuple(row[0] for row in ended)
