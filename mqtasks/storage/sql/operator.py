"""What operators and producers ask of tasks: cancel, and run again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mqtasks.model import TaskStatus
from mqtasks.storage.contract import CancelReport
from mqtasks.storage.deadlines import lifted
from mqtasks.storage.sql.base import SqlBase, when_disabled
from mqtasks.storage.sql.dialect import Session

_IDLE: Final = frozenset(
    {int(TaskStatus.CREATED), int(TaskStatus.SCHEDULED), int(TaskStatus.WAITING)}
)


class SqlOperator(SqlBase):
    """See `QueueOperations`, the producer's and operator's side."""

    @when_disabled(CancelReport)
    def cancel_many(self, task_ids: Sequence[int]) -> CancelReport:
        """Cancel: waiting rows end as CANCELED, RUNNING becomes CANCEL_REQUESTED."""
        ids = sorted(set(task_ids))

        def work(session: Session) -> CancelReport:
            canceled: list[int] = []
            running: list[int] = []
            requested: list[tuple[int, str]] = []
            ended: list[int] = []
            waiting: list[int] = []
            for task_id, status, runner, _, _ in session.rows_in("lock_tasks", ids):
                if status in _IDLE:
                    canceled.append(task_id)
                    if status == TaskStatus.WAITING:
                        waiting.append(task_id)
                elif status in {TaskStatus.RUNNING, TaskStatus.CANCEL_REQUESTED}:
                    requested.append((task_id, runner))
                    if status == TaskStatus.RUNNING:
                        running.append(task_id)
                elif status == TaskStatus.CANCELED and session.repeated:
                    ended.append(task_id)  # by the try before this one
            session.run_in("cancel_waiting", canceled)
            session.run_in("drop_edges", waiting)
            session.run_in("request_cancel", running)
            answered = {*canceled, *ended, *(task_id for task_id, _ in requested)}
            return CancelReport(
                tuple(sorted(canceled + ended)),
                tuple(requested),
                tuple(task_id for task_id in ids if task_id not in answered),
            )

        return self._db.transact(work) if ids else CancelReport()

    @when_disabled(tuple[int, ...])
    def requeue_many(self, task_ids: Sequence[int], *, keep_steps: bool = True) -> tuple[int, ...]:
        """Run FAILED and CANCELED tasks again; return the ids that were requeued."""
        ids = sorted(set(task_ids))

        def work(session: Session) -> tuple[int, ...]:
            rows = session.rows_in("lock_ended", ids)
            ended = [row[0] for row in rows]
            session.run_in("requeue", ended)
            relieved = [
                (task_id, left)
                for task_id, options in rows
                if (left := lifted(options)) is not None
            ]
            session.run_each("set_options", ("task_id", "options"), relieved)
            if not keep_steps:
                session.run_in("delete_steps", ended)
            return tuple(ended)

        return self._db.transact(work) if ids else ()
