"""The reference's operations on tasks, plus creation in batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from mqtasks.conditions import Condition
from mqtasks.errors import InvalidArgument
from mqtasks.model import AsyncTask, Attempt, Created, NewTask
from mqtasks.storage.contract.joined import JoinedTransaction
from mqtasks.storage.contract.records import Capabilities, ExecutorCount, PruneReport


class TaskRecords(ABC):
    """Creating, reading and editing task rows.

    Obligations shared by every operation of the contract:

    * each call is one transaction: applied as a whole, or not at all;
    * each call may come from any thread, and from any process if ``capabilities.cross_process``;
    * a batch may have any length, 0 included (then nothing happens); implementations chunk it
      into statements that respect server limits, still inside one transaction;
    * rows are written in ascending order of their primary key;
    * times are unix milliseconds of the *database's* clock, which the operation reads itself;
    * records come back as copies: changing storage later never changes them;
    * errors: StorageUnavailable (unknown outcome; every write may be repeated), StorageConflict
      (nothing written, bounded retries used up), SchemaMismatch; bad arguments InvalidArgument;
    * while `mqtasks.debug.framework_disabled()` SQL storages do nothing and answer "nothing".
    """

    capabilities: Capabilities

    @property
    def url(self) -> str | None:
        """What another process passes to `storage_from_url` to open this storage; None = it cannot.

        It may hold a password: never show it.
        """
        return None

    @abstractmethod
    def close(self) -> None:
        """Release connections and files. Idempotent; later calls raise StorageUnavailable."""

    @abstractmethod
    def now_ms(self) -> int:
        """Return the database's clock, unix milliseconds UTC, whatever the session's time zone."""

    @abstractmethod
    def server_identity(self) -> str:
        """Return text that changes when another server (or a restarted one) answers."""

    def change_count(self) -> int | None:
        """Return a number that changes whenever anybody commits; None without the capability.

        Costs microseconds. Meant to be polled by one thread.
        """
        return None

    def interrupt(self, thread_id: int) -> bool:  # noqa: ARG002 - for those with connections
        """Drop the connection on which another thread waits; its call raises StorageUnavailable.

        ``thread_id`` is that thread's `threading.get_ident`. Returns whether there was such a
        connection. Never blocks. A storage whose calls cannot hang has nothing to drop.
        """
        return False

    def join(self, connection: Any, *, begin: bool = False) -> JoinedTransaction:  # noqa: ARG002
        """Take part in the transaction that is open on a connection of the caller's.

        ``connection`` leads to the same database, by a driver or a library that the storage knows.
        ``begin`` opens a transaction if none is open; without it, a connection in autocommit mode
        is refused. Raises InvalidArgument for a connection that cannot be joined, and for every
        one if the storage has no transactions that others could open.
        """
        raise InvalidArgument(
            "connection",
            type(connection).__name__,
            f"tasks in {self.capabilities.name} storage can take no part in a transaction of yours;"
            " use MySQL or SQLite",
        )

    @abstractmethod
    def check_schema(self) -> None:
        """Raise SchemaMismatch, with the command to run, unless the schema is the known one."""

    # -- the reference's operations ------------------------------------------------------------

    @abstractmethod
    def add(self, *tasks: AsyncTask) -> int:
        """Insert whole rows and return how many were new.

        A row whose metadata id is stored already is left alone. ``task.id`` is ignored: storage
        numbers rows itself. A zero ``created_at`` (and ``run_at``) becomes now. The lane is
        computed from the metadata, not taken from the record.
        """

    @abstractmethod
    def update(self, tasks: Sequence[AsyncTask], *conditions: Condition) -> int:
        """Overwrite rows by ``task.id`` where the conditions hold; return how many matched.

        Writes every field but ``id``, ``metadata.id`` and ``created_at``. A limit and an order
        have no meaning here and are refused (InvalidCondition), as is a call without any
        condition: it must name a comparison or ``where.everything()``.
        """

    @abstractmethod
    def delete(self, *conditions: Condition) -> int:
        """Delete the selected rows, with their attempts; return how many.

        Respects ``where.limit`` and the order. Refuses a call without a comparison or
        ``where.everything()``.
        """

    @abstractmethod
    def query(self, *conditions: Condition) -> list[AsyncTask]:
        """Return the selected tasks by ascending task id, or descending if asked."""

    # -- beyond the reference ------------------------------------------------------------------

    @abstractmethod
    def create_tasks(self, tasks: Sequence[NewTask]) -> list[Created]:
        """Create tasks, idempotent by metadata id; answer each one in the order given (G1, G2).

        A task is SCHEDULED if its ``run_at`` (or now + delay_duration) is in the future, else
        CREATED; its priority is copied from its options, its lane computed. An id that is stored
        already, also by a concurrent producer, or earlier in this batch, answers that row's task
        id with ``is_new`` False and changes nothing. Validated before anything is written.
        A batch of new ids costs one INSERT per chunk; ids are compared byte by byte.

        A new task with ``after`` is WAITING until `DependencyOperations.resolve_dependencies`
        finds its parents ended; if they have ended already, that is decided here, in the same
        transaction. Raises InvalidArgument, before anything is written, if a task waits for
        itself, directly or through others of the batch, or if a parent of a new task is neither
        stored nor in the batch. A task that is stored already keeps the links it has. Tasks
        without links pay nothing for those that have some.

        Of the tasks with one ``unique_key`` only the first is created until its ``unique_ms`` are
        over, whatever becomes of it, deletion included; the others, of this batch and of any other
        producer, answer its task id and metadata id, ``is_new`` False. Neither their own period
        nor their due time counts. Raises InvalidArgument for a task of the batch that waits for
        one with a unique key.

        Tasks with a ``plan`` are a batch of their own, which is made as a whole or not at all,
        whoever else creates the same ids meanwhile. If the tasks that it ends with are stored,
        nothing is made; one of its inner tasks that is not stored then is answered with task id 0.
        Otherwise raises InvalidArgument if any of it is stored, unless they are children
        (``child_of``): what pruning has left of those is completed.
        """

    @abstractmethod
    def find(self, metadata_ids: Iterable[str]) -> dict[str, AsyncTask]:
        """Return the stored tasks of these metadata ids."""

    @abstractmethod
    def attempts(self, task_id: int) -> list[Attempt]:
        """Return the history of allocations that did not end in success, by ascending epoch."""

    @abstractmethod
    def count_by_status(self, cap: int) -> dict[int, int]:
        """Return how many tasks are in each status, each count capped at ``cap`` (cheap)."""

    @abstractmethod
    def count_by_executor(self, cap: int) -> list[ExecutorCount]:
        """Return how many tasks each executor has in each status, for monitoring.

        Looks at no more than ``cap`` rows of each status, so that it stays cheap with any
        history; beyond that the counts are those of the rows looked at.
        """

    @abstractmethod
    def prune(self, from_id: int, limit: int, success_ms: int, failure_ms: int) -> PruneReport:
        """Delete ended rows (and their attempts) past their retention, one chunk by primary key.

        Looks at up to ``limit`` rows with id >= ``from_id`` in id order. A row is past its
        retention when completed_at + retention <= now, where retention is the row's own option
        or else ``success_ms`` (COMPLETED, SUCCESS) or ``failure_ms`` (FAILED, CANCELED).
        ``next_id`` is 0 when no row is left to look at, or when the chunk's last row was created
        after the youngest possible victim. A row that another one waits for, or has waited for
        and not ended yet, stays: its result is still wanted.
        """
