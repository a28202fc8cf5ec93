"""Memory storage that takes part in transactions of the caller's, as the SQL storages do.

Rows created on a connection of the caller's wait, far in the future, until its library tells of
the commit; those that are never committed are never seen. A completion is written right after the
commit, which only a crash between the two could tell from one transaction: there is none here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from mqtasks.clock import ManualClock
from mqtasks.errors import InvalidArgument, InvalidTask
from mqtasks.model import Created, NewTask, TaskStatus
from mqtasks.storage.caller import Handle, aborted, unwrap
from mqtasks.storage.contract import Completion, JoinedTransaction, TaskStorage
from mqtasks.storage.factory import storage_from_url
from mqtasks.storage.memory import MemoryTaskStorage
from mqtasks.testing.report import Stuck

_UNKNOWN: Final = (
    "it was enqueued on a connection that does not tell when it commits: call committed() after"
    " the commit"
)
_NEVER: Final = 2**62
"""Unix ms at which uncommitted tasks are due."""


class Uncommitted(NamedTuple):
    """How a task becomes real."""

    driver: object
    status: int
    run_at: int
    told: bool
    """Whether the library of the connection tells of its commit."""


class TestingStorage(MemoryTaskStorage):
    """See the module. ``uncommitted`` are tasks whose transaction is open, or was rolled back."""

    __test__ = False

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.uncommitted: dict[int, Uncommitted] = {}

    def create_tasks(self, tasks: Sequence[NewTask]) -> list[Created]:
        """Create tasks; an uncommitted one of the same id was rolled back, and is replaced."""
        with self._transaction:
            for task in tasks:
                task_id = self._tables.by_metadata.get(task.metadata.id, 0)
                if self.uncommitted.pop(task_id, None) is not None:
                    self._tables.delete(self._tables.rows[task_id])
        return super().create_tasks(tasks)

    def join(self, connection: Any, *, begin: bool = False) -> JoinedTransaction:
        """Take part in a transaction on any connection; see `TaskRecords.join`."""
        handle = unwrap(connection)
        if begin:
            _begin(handle)
        return _Joined(self, handle)

    def hold_back(self, task_id: int, handle: Handle) -> None:
        """Let a task just created wait for the commit of a connection."""
        tables = self._tables
        told = handle.after_commit(lambda: self.commit([task_id]))
        with self._transaction:
            row = tables.rows[task_id]
            self.uncommitted[task_id] = Uncommitted(handle.driver, row.status, row.run_at, told)
            if row.status in {TaskStatus.CREATED, TaskStatus.SCHEDULED}:
                self._change(task_id, TaskStatus.SCHEDULED, _NEVER)

    def commit(self, task_ids: Sequence[int]) -> None:
        """Make uncommitted tasks real. Ids of others are ignored."""
        with self._transaction:
            for task_id in task_ids:
                held = self.uncommitted.pop(task_id, None)
                row = self._tables.rows.get(task_id)
                if held is not None and row is not None and row.run_at == _NEVER:
                    self._change(task_id, held.status, held.run_at)

    def commit_of(self, driver: object | None = None) -> None:
        """As `commit`, for all tasks on a connection, or on all whose library says nothing."""
        self.commit(
            [
                task_id
                for task_id, held in list(self.uncommitted.items())
                if (held.driver is driver if driver is not None else not held.told)
            ]
        )

    def _change(self, task_id: int, status: int, run_at: int) -> None:
        row = self._tables.rows[task_id]
        self._tables.unlink(row)
        row.status, row.run_at = status, run_at
        self._tables.link(row)


class _Joined(JoinedTransaction):
    """The caller's transaction, as far as this storage can be part of it."""

    def __init__(self, storage: TestingStorage, handle: Handle) -> None:
        self._storage = storage
        self._handle = handle
        self._completion: tuple[str, Completion] | None = None

    def create_tasks(self, tasks: Sequence[NewTask]) -> list[Created]:
        """Create tasks that wait for the commit."""
        created = self._storage.create_tasks(tasks)
        for made in created:
            if made.is_new:
                self._storage.hold_back(made.task_id, self._handle)
        return created

    def complete(self, runner_id: str, completion: Completion) -> None:
        """Remember the completion until the commit, if the task is this runner's."""
        found = self._storage.load([completion.task_id])
        owned = any(
            task.status is TaskStatus.RUNNING
            and (task.runner, task.epoch) == (runner_id, completion.epoch)
            for task in found
        )
        if not owned:
            raise InvalidTask(completion.task_id, runner_id, completion.epoch)
        self._completion = (runner_id, completion)
        self._handle.after_commit(self._finish)

    def after_commit(self, call: Callable[[], object]) -> bool:
        """Run ``call`` once the transaction is committed, after its tasks have become real."""
        return self._handle.after_commit(call)

    def commit(self) -> None:
        """Commit, and make real what waits for it."""
        self._handle.flush()
        try:
            self._handle.commit()
        except Exception as error:
            raise aborted(error) from error
        self._storage.commit_of(self._handle.driver)
        self._finish()

    def rollback(self) -> None:
        """Roll back; what waits for the commit is never seen."""
        self._completion = None
        with suppress(Exception):
            self._handle.rollback()

    def _finish(self) -> None:
        completion, self._completion = self._completion, None
        if completion is not None:
            runner_id, outcome = completion
            self._storage.complete_many(runner_id, [outcome])


def storage_of(url: str, clock: ManualClock) -> TaskStorage:
    """Return the storage of a tester."""
    return TestingStorage(clock) if url == "memory://" else storage_from_url(url, clock)


def uncommitted_of(storage: TaskStorage) -> tuple[Stuck, ...]:
    """Return tasks of which it cannot be known whether their transaction was committed."""
    if not isinstance(storage, TestingStorage):
        return ()
    unknown = [task_id for task_id, held in storage.uncommitted.items() if not held.told]
    return tuple(
        Stuck(task.id, task.metadata.id, task.metadata.executor, _UNKNOWN)
        for task in storage.load(unknown)
    )


def _begin(handle: Handle) -> None:
    driver = handle.driver
    if not callable(getattr(driver, "commit", None)):
        raise InvalidArgument(
            "connection", type(driver).__name__, "is no database connection: it cannot commit"
        )
    if handle.opens:
        handle.begin()
    elif hasattr(driver, "in_transaction"):  # sqlite3's
        if not driver.in_transaction:
            driver.execute("BEGIN IMMEDIATE")
    elif type(handle) is Handle and callable(getattr(driver, "begin", None)):
        driver.begin()
