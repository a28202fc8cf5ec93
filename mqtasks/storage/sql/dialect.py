"""What the shared SQL code asks of a dialect: sessions, and a verdict on each driver error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

from mqtasks.errors import MQTasksError
from mqtasks.model import AsyncTask, NewTask
from mqtasks.storage.sql.queries import Template
from mqtasks.storage.sql.rows import Row

BATCH = 2000
"""Rows that one statement may touch; longer batches take several, in one transaction."""


class DuplicateKey(Exception):
    """A unique key is taken; the statement wrote nothing."""


class Kind(Enum):
    """What a driver error means for the unit of work that met it."""

    CONFLICT = 1
    """Deadlock or lock wait: nothing was written; try again soon."""
    LOST = 2
    """The connection broke: the outcome is unknown; try again on a fresh one."""
    REFUSED = 3
    """The server cannot be used at the moment; trying again at once would not help."""
    FATAL = 4
    """Trying again gives the same error."""


class Failure(NamedTuple):
    """A verdict on a driver error: what to do, and what to raise in the end."""

    kind: Kind
    error: MQTasksError


class Session(ABC):
    """One connection, in the hands of one thread. Statements go by name (see `queries`)."""

    interrupted = False
    """Whether somebody else broke this connection on purpose, to end a wait."""
    repeated = False
    """Whether an earlier try of this unit of work may have been committed (P10)."""

    stalled = False
    """Whether this unit waited so long for its locks that leases may have lapsed over it (P13)."""
    judges_parents = True
    """Whether links may lock tasks that others run: it soon commits."""
    queries: Mapping[str, Template]
    """The dialect's named statements."""
    row_lock = ""
    """What stands behind a SELECT that locks the rows it returns."""

    def text(self, name: str) -> str:
        """Return the text of a named statement, to be continued."""
        return self.queries[name].text

    # -- transactions --------------------------------------------------------------------------

    @abstractmethod
    def begin(self) -> None:
        """Open a transaction."""

    @abstractmethod
    def commit(self) -> None:
        """Commit it."""

    @abstractmethod
    def rollback(self) -> None:
        """Roll it back, if one is open."""

    # -- statements ----------------------------------------------------------------------------

    @abstractmethod
    def run(self, statement: str | Template, *params: Any) -> int:
        """Run a write; return how many rows matched. Raises DuplicateKey."""

    @abstractmethod
    def rows(self, statement: str | Template, *params: Any) -> list[Row]:
        """Run a query and return its rows."""

    @abstractmethod
    def run_in(self, name: str, values: Sequence[int], *params: Any) -> int:
        """Run a write over ``{in}``, in chunks; return how many rows matched."""

    @abstractmethod
    def rows_in(self, name: str, values: Sequence[int] | Sequence[str], *params: Any) -> list[Row]:
        """Run a query over ``{in}``, in chunks; return the rows of all."""

    @abstractmethod
    def run_each(self, name: str, fields: Sequence[str], rows: Sequence[Row], *params: Any) -> int:
        """Run a write in which ``{field}`` differs by row; return how many rows matched.

        The first field is an integer key that the statement compares with IN; ``rows`` come in
        ascending order of it, each key once. ``params`` are the same for all.
        """

    @abstractmethod
    def insert_records(self, rows: Sequence[Row]) -> int:
        """Insert the first of these whole rows by one statement, as many as it takes; say how many.

        Raises DuplicateKey; then nothing was written.
        """

    @abstractmethod
    def insert_tasks(self, tasks: Sequence[NewTask]) -> list[int]:
        """Insert new tasks by one statement; return their ids in order. Raises DuplicateKey.

        ``tasks`` are valid, unique and no more than `insert_batch` allows.
        """

    @abstractmethod
    def insert_batch(self, tasks: Sequence[NewTask], start: int) -> int:
        """Return the index behind the last task that one `insert_tasks` from ``start`` takes."""

    @abstractmethod
    def tasks(self, statement: str | Template, *params: Any) -> list[AsyncTask]:
        """Run a query for ``{task_columns}``; return the records."""

    @abstractmethod
    def tasks_in(
        self, name: str, values: Sequence[int] | Sequence[str], *params: Any
    ) -> list[AsyncTask]:
        """Run a query for ``{task_columns}`` over ``{in}``; return the records."""

    @abstractmethod
    def lanes(self, after: int, limit: int) -> list[int]:
        """Return up to ``limit`` lanes > ``after`` that hold CREATED rows; one seek for each."""

    def one(self, statement: str, *params: Any) -> Row | None:
        """Run a query and return its first row, or None."""
        found = self.rows(statement, *params)
        return found[0] if found else None

    def now(self) -> int:
        """Return the database's clock, unix milliseconds."""
        now: int = self.rows("now")[0][0]
        return now


class Dialect(Protocol):
    """Connections of one database, and what its errors mean."""

    errors: tuple[type[BaseException], ...]
    """What the driver raises."""
    bare_writes: bool
    """Whether a single statement commits by itself, without BEGIN and COMMIT."""
    tries: int
    """How often a unit that meets conflicts is tried."""

    def checkout(self, *, write: bool) -> Session:
        """Lend a session; raises a driver error or an MQTasksError if there is none."""
        ...

    def give_back(self, session: Session, *, broken: bool) -> None:
        """Take a session back; a broken one is closed."""
        ...

    def classify(self, error: BaseException) -> Failure:
        """Judge a driver error."""
        ...
