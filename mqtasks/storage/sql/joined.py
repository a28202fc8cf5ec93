"""Our operations inside a transaction of the caller's; the same for both dialects."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from mqtasks.debug import framework_disabled
from mqtasks.errors import InvalidTask, TransactionAborted
from mqtasks.model import Created, NewTask, TaskOptions, TaskStatus
from mqtasks.storage.caller import Handle, aborted
from mqtasks.storage.contract import Completion, JoinedTransaction
from mqtasks.storage.deadlines import with_deadline
from mqtasks.storage.sql.create import (
    answers,
    check_all,
    create_windowed,
    first_of_each,
    maker_of,
)
from mqtasks.storage.sql.deadlines import note_deadlines
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.work import checked, complete_in
from mqtasks.storage.windows import windowed

_log = logging.getLogger("mqtasks.storage")


class SqlJoined(JoinedTransaction):
    """See `JoinedTransaction`. ``session`` raises TransactionAborted for every driver error."""

    def __init__(
        self,
        session: Session,
        handle: Handle,
        note_retentions: Callable[[Iterable[TaskOptions]], None],
    ) -> None:
        self._session = session
        self._handle = handle
        self._note_retentions = note_retentions

    def create_tasks(self, tasks: Sequence[NewTask]) -> list[Created]:
        """Create tasks, idempotent by metadata id; answer in the order given."""
        if framework_disabled() or not tasks:
            return []
        special = check_all(tasks)
        with_windows = special and windowed(special)
        ordered = first_of_each(tasks)
        with self._dooming():
            if special:
                self._note_retentions(task.metadata.options for task in special)
                note_deadlines(self._session, with_deadline(special))
            if with_windows:
                return create_windowed(self._session, tasks)
            made = maker_of(special)(self._session, ordered)
        return answers(tasks, made)

    def complete(self, runner_id: str, completion: Completion) -> None:
        """End one RUNNING task as COMPLETED, SUCCESS, or raise InvalidTask."""
        task_id, epoch = completion.task_id, completion.epoch
        if framework_disabled():
            raise InvalidTask(task_id, runner_id, epoch, "the framework is switched off")
        with self._dooming():
            self._flush()
            if complete_in(self._session, runner_id, [checked(completion)]):
                return
            rows = self._session.rows_in("lock_tasks", [task_id])
        self._handle.doom()
        raise InvalidTask(task_id, runner_id, epoch, _why(rows, runner_id, epoch))

    def after_commit(self, call: Callable[[], object]) -> bool:
        """Run ``call`` once the transaction is committed; False if there is no hook."""
        return self._handle.after_commit(call)

    def commit(self) -> None:
        """Commit all of it."""
        try:
            self._handle.commit()
        except Exception as error:
            raise aborted(error) from error

    def rollback(self) -> None:
        """Roll all of it back."""
        try:
            self._handle.rollback()
        except Exception as error:  # noqa: BLE001 - whatever library it is
            # A connection that cannot say so has lost its transaction, or is about to.
            _log.info("a caller's connection could not be rolled back: %s", error)

    def _flush(self) -> None:
        try:
            self._handle.flush()
        except Exception as error:
            raise aborted(error) from error

    @contextmanager
    def _dooming(self) -> Iterator[None]:
        try:
            yield
        except TransactionAborted:
            self._handle.doom()
            raise


def _why(rows: Sequence[tuple[object, ...]], runner_id: str, epoch: int) -> str:
    """Return why a completion did not match, as a person would say it."""
    if not rows:
        return "it is not stored any more"
    _, status, runner, stored, _ = rows[0]
    if status == TaskStatus.CANCEL_REQUESTED and (runner, stored) == (runner_id, epoch):
        return "a cancellation was requested"
    if stored != epoch or runner != runner_id:
        return f"it was reassigned (runner {runner!r}, epoch {stored})"
    return "it has ended already"
