"""Taking part in a transaction that the caller has opened on a connection of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from mqtasks.model import Created, NewTask
from mqtasks.storage.contract.records import Completion


class JoinedTransaction(ABC):
    """What `TaskRecords.join` gives: operations that commit or roll back with the caller's writes.

    Nothing here is tried twice and nothing reconnects (P10): a deadlock has rolled back all that
    the caller wrote, and a statement of ours that was repeated would be committed without it. Any
    error of the database raises TransactionAborted. For the thread that may use the connection.
    """

    @abstractmethod
    def create_tasks(self, tasks: Sequence[NewTask]) -> list[Created]:
        """Create tasks, idempotent by metadata id, as `TaskRecords.create_tasks` does.

        A row that another transaction has committed is found also if the caller's snapshot is
        older than it. Parents that have ended may be left to the next step of the resolver: what
        a worker is about to end is not locked for a caller who may commit late.
        """

    @abstractmethod
    def complete(self, runner_id: str, completion: Completion) -> None:
        """End one RUNNING task of this runner and epoch as COMPLETED, SUCCESS.

        Raises InvalidTask otherwise, also if a cancellation was requested (P9); then nothing was
        written, and the caller must roll back.
        """

    @abstractmethod
    def after_commit(self, call: Callable[[], object]) -> bool:
        """Run ``call`` once the transaction is committed; False if the connection has no hook."""

    @abstractmethod
    def commit(self) -> None:
        """Commit all of it, by the means of the library that the connection is from.

        Raises TransactionAborted; then it is not known whether it was committed.
        """

    @abstractmethod
    def rollback(self) -> None:
        """Roll all of it back. Raises nothing: what cannot be reached is rolled back anyway."""
