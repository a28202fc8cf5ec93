"""What the operation groups of the SQL storages share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from mqtasks.debug import framework_disabled
from mqtasks.model import TaskOptions
from mqtasks.storage.contract import APPLIED, WriteReport
from mqtasks.storage.sql.database import Database
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.rows import retention_ms

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


class Named(Protocol):
    """Something that names one allocation of one task."""

    @property
    def task_id(self) -> int:
        """The task."""
        ...

    @property
    def epoch(self) -> int:
        """The allocation."""
        ...


N = TypeVar("N", bound=Named)


class SqlBase:
    """Holds the database; the operation groups derive from it."""

    _db: Database
    _noted: set[int]
    """Retentions known to stand in the table that bounds the pruner's sweep."""

    def _note_retentions(self, options: Iterable[TaskOptions]) -> None:
        """Write down retentions that are new, before a task with one is stored.

        Rounded down to a power of two, so that there are few, and nearly always none to write.
        """
        wanted = self._new_retentions(options)
        if wanted:
            self._db.transact(lambda session: note_retentions(session, wanted))
            self._noted |= wanted

    def _new_retentions(self, options: Iterable[TaskOptions]) -> set[int]:
        return {_floor(item) for item in options if item.retention is not None} - self._noted


def note_retentions(session: Session, floors: Iterable[int]) -> None:
    """Write down rounded retentions where they are not."""
    for floor in sorted(floors):
        if not session.rows("has_retention", floor):
            session.run("note_retention", floor)


def _floor(options: TaskOptions) -> int:
    value = retention_ms(options) or 0
    return 1 << (value.bit_length() - 1) if value else 0


def when_disabled(
    answer: Callable[[], Any],
) -> Callable[[Callable[Concatenate[S, P], T]], Callable[Concatenate[S, P], T]]:
    """Make an operation do nothing and return ``answer()`` while the framework is disabled."""

    def decorate(operation: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
        @wraps(operation)
        def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            if framework_disabled():
                return answer()  # type: ignore[no-any-return]  # what the operation answers for none
            return operation(self, *args, **kwargs)

        return guarded

    return decorate


def nothing() -> None:
    """Answer None."""


def lost_when_disabled(
    operation: Callable[Concatenate[S, str, Sequence[N], P], WriteReport],
) -> Callable[Concatenate[S, str, Sequence[N], P], WriteReport]:
    """Make a fenced write do nothing, and say so, for no or while the framework is disabled."""

    @wraps(operation)
    def guarded(
        self: S, runner_id: str, batch: Sequence[N], /, *args: P.args, **kwargs: P.kwargs
    ) -> WriteReport:
        if not batch:
            return APPLIED
        if framework_disabled():
            return WriteReport(lost=tuple(item.task_id for item in batch))
        return operation(self, runner_id, batch, *args, **kwargs)

    return guarded


def by_id(batch: Iterable[N]) -> list[N]:
    """Return a batch by ascending task id; of two for one task only the first stays."""
    unique: dict[int, N] = {}
    for item in batch:
        unique.setdefault(item.task_id, item)
    return [unique[task_id] for task_id in sorted(unique)]
