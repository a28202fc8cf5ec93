"""Deadlines in SQL: noted before the task is stored, so that a crash in between loses none.

Each row of the table says when to look at a task. Whether its deadline is over is decided by the
task's own row, so that a note may be too early, doubled, or about a task that there is not.
Only notes that were committed are looked at, and deleted one by one, by their whole keys: a caller
who has noted others may commit late, and nobody is to wait for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Final

from mqtasks.model import AsyncTask, NewTask, TaskStatus
from mqtasks.storage.contract.deadlines import DeadlineOperations
from mqtasks.storage.deadlines import Noted, judge, with_deadline
from mqtasks.storage.sql.base import SqlBase, when_disabled
from mqtasks.storage.sql.database import Database
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.queries import Template
from mqtasks.storage.sql.rows import Row

_CHUNK: Final = 500
"""Notes in one statement."""
_UNSTORED_MS: Final = 60_000
"""How long a note waits for its task, whose creation locks or a failover may hold up."""


class SqlDeadlines(SqlBase, DeadlineOperations):
    """See `DeadlineOperations`."""

    @when_disabled(tuple[int, ...])
    def expire_due(self, limit: int) -> tuple[int, ...]:
        """End tasks as FAILED whose deadline is over and that nobody runs; return their ids."""
        due = self._db.read(lambda session: session.rows("due_deadlines", limit))
        if not due:
            return ()
        return self._db.transact(lambda session: _expire(session, due, limit))


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


def _expire(session: Session, due: Sequence[Row], limit: int) -> tuple[int, ...]:
    known: dict[str, int] = dict(session.rows_in("known_ids", sorted({row[0] for row in due})))
    ended: list[tuple[int, bytes]] = []
    waiting: list[int] = []
    later: list[tuple[str, int]] = []
    for task_id, name, status, options, created_at, now in session.rows_in(
        "lock_expiring", sorted(known.values())
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
    kept = _early(session, [note for note in due if note[0] not in known], limit)
    for note in sorted(set(due) - kept):
        session.run("delete_deadline", *note)
    return tuple(row[0] for row in ended)


def _early(session: Session, unstored: Sequence[Row], limit: int) -> set[Row]:
    """Return the notes to keep of tasks that are not stored, or not yet.

    Half of a look at most, the latest: they must not keep others from being looked at.
    """
    if not unstored:
        return set()
    since = session.now() - _UNSTORED_MS
    young = sorted((note for note in unstored if note[1] > since), key=itemgetter(1))
    return set(young[len(young) - limit // 2 :] if len(young) > limit // 2 else young)
