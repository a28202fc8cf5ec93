"""Tasks that a running task makes, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mqtasks.model import LIVE, Created, NewTask, TaskEpoch
from mqtasks.storage.contract import ChildOperations
from mqtasks.storage.sql.base import SqlBase, nothing, when_disabled
from mqtasks.storage.sql.create import (
    answers,
    check_all,
    create_windowed,
    first_of_each,
    maker_of,
)
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.windows import told_of_windows
from mqtasks.storage.windows import windowed

_LIVE: Final = frozenset(map(int, LIVE))


class SqlChildren(SqlBase, ChildOperations):
    """See `ChildOperations`."""

    @when_disabled(nothing)
    def create_children(
        self, runner_id: str, owner: TaskEpoch, tasks: Sequence[NewTask]
    ) -> list[Created] | None:
        """Create tasks, fenced by the task that makes them; None if that is lost."""
        special = check_all(tasks)
        keyed = windowed(special)
        self._note_retentions(task.metadata.options for task in special)

        def work(session: Session) -> list[Created] | None:
            rows = session.rows_in("lock_tasks", [owner.task_id])
            owned = [row for row in rows if (row[2], row[3]) == (runner_id, owner.epoch)]
            if not owned or owned[0][1] not in _LIVE:
                return None
            if keyed:
                return create_windowed(session, tasks)
            return answers(tasks, maker_of(special)(session, first_of_each(tasks)))

        if not keyed:
            return self._db.transact(work)
        with told_of_windows(keyed):
            return self._db.transact(work)
