"""Signs of life from workers: started, heartbeat, progress. All fenced, none touches an index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from mqtasks.model import TaskEpoch
from mqtasks.storage.contract import WriteReport
from mqtasks.storage.sql.base import SqlBase, by_id, lost_when_disabled, when_disabled
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.endings import Tally
from mqtasks.storage.sql.lanes import LIVE_STATUSES
from mqtasks.storage.sql.rows import Row

_FIELDS: Final = ("task_id", "epoch")


class SqlLife(SqlBase):
    """See `QueueOperations`: mark_started, heartbeat_many, save_progress."""

    @lost_when_disabled
    def mark_started(self, runner_id: str, started: Sequence[TaskEpoch]) -> WriteReport:
        """Write started_at (if 0) and last_heartbeat now; fenced."""
        return self._touch("mark_started", runner_id, started, lambda row, epoch: row == epoch)

    @lost_when_disabled
    def heartbeat_many(self, runner_id: str, beats: Sequence[TaskEpoch]) -> WriteReport:
        """Write last_heartbeat now where the row's epoch <= the caller's; else lost."""
        return self._touch("heartbeat", runner_id, beats, lambda row, epoch: row <= epoch)

    @when_disabled(bool)
    def save_progress(self, runner_id: str, task: TaskEpoch, progress: bytes) -> bool:
        """Write the progress of a task; fenced. False if the task is lost."""
        params = (bytes(progress), task.task_id, runner_id, task.epoch)
        return self._db.single(lambda session: session.run("save_progress", *params)) > 0

    def _touch(
        self,
        statement: str,
        runner_id: str,
        batch: Sequence[TaskEpoch],
        fits: Callable[[int, int], bool],
    ) -> WriteReport:
        unique = by_id(batch)
        rows = [(item.task_id, item.epoch) for item in unique]

        def work(session: Session) -> WriteReport:
            tally = Tally()
            matched = session.run_each(statement, _FIELDS, rows, runner_id)
            asked: dict[int, int] = dict(session.rows("cancel_requested", runner_id))
            owners: dict[int, Row] = {}
            if matched < len(rows):
                ids = [item.task_id for item in unique]
                owners = {row[0]: row for row in session.rows_in("owners", ids)}
            for item in unique if asked or owners or matched < len(rows) else ():
                row = owners.get(item.task_id)
                if item.task_id in asked and fits(asked[item.task_id], item.epoch):
                    tally.canceled.add(item.task_id)
                elif matched < len(rows) and not (
                    row is not None
                    and row[1] in LIVE_STATUSES
                    and row[2] == runner_id
                    and fits(row[4], item.epoch)
                ):
                    tally.lost.add(item.task_id)
            return tally.report(batch)

        return self._db.single(work)
