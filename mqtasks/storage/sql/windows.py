"""Unique windows in SQL: rows that are locked, in order of their keys, before anything is made.

A window that is missing is inserted as an expired one, which locks its key: whoever comes second
waits there for the first's commit, and then sees whose window it is. The insert never fails on a
key that exists, since that would leave shared locks in which two producers could block each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from mqtasks.errors import StorageConflict
from mqtasks.model import Created, NewTask
from mqtasks.storage.contract import WindowOperations
from mqtasks.storage.sql.base import SqlBase, when_disabled
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.queries import Template
from mqtasks.storage.windows import Window, held_by

_CHUNK: Final = 500
"""Windows in one statement."""
_SHOWN: Final = 3


class SqlWindows(SqlBase, WindowOperations):
    """See `WindowOperations`."""

    @when_disabled(int)
    def prune_windows(self, limit: int) -> int:
        """Delete up to ``limit`` expired windows, the oldest first; return how many."""

        def work(session: Session) -> int:
            found = session.rows("expired_windows", limit)
            keys = sorted(bytes.fromhex(row[0]) for row in found)
            # Judged again: a producer may have taken one anew meanwhile.
            return sum(
                session.run(_listing(session, "delete_windows", "{in}", "?", part), *part)
                for part in _parts(keys)
            )

        return self._db.transact(work)


@contextmanager
def told_of_windows(tasks: Sequence[NewTask]) -> Iterator[None]:
    """Let a StorageConflict say that somebody may hold a window; ``tasks`` have some."""
    try:
        yield
    except StorageConflict as error:
        codes = ", ".join(repr(code) for code in list(dict.fromkeys(map(_code, tasks)))[:_SHOWN])
        raise StorageConflict(
            f"unique_for: the window of a call of {codes} could not be looked at, and nothing was"
            " created: another transaction, most likely one that has enqueued the same call with"
            " connection=, holds it. Commit or roll back that one soon after it has enqueued, then"
            f" try again ({error})"
        ) from error


def take_windows(session: Session, tasks: Sequence[NewTask]) -> dict[bytes, Created]:
    """Lock the windows of a batch, those included that nobody has; return those open now."""
    keys = sorted({task.unique_key for task in tasks if task.unique_key})
    held: dict[bytes, Created] = {}
    for part in _parts(keys):
        session.run(_listing(session, "take_windows", "{rows}", "(?,0,'',0)", part), *part)
        for key, is_open, task_id, metadata_id in session.rows(
            _listing(session, "windows", "{in}", "?", part), *part
        ):
            if is_open:
                held[bytes.fromhex(key)] = held_by(task_id, metadata_id)
    return held


def keep_windows(session: Session, taken: Sequence[Window]) -> None:
    """Write windows that `take_windows` has locked, by ascending key."""
    for part in _parts(taken):
        statement = _listing(session, "keep_windows", "{rows}", "(?,?,?,{now}+?)", part)
        session.run(statement, *(value for window in part for value in window))


def _code(task: NewTask) -> int | str:
    return task.metadata.executor


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))


def _listing(session: Session, name: str, mark: str, one: str, items: Sequence[object]) -> Template:
    return Template(session.text(name).replace(mark, ",".join([one] * len(items))))
