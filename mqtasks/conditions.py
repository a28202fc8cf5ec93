"""Conditions: one small language to select tasks, compiled to SQL and to a Python predicate.

::

    service.query_task(where.status == TaskStatus.RUNNING, where.runner == "r1", where.limit(50))
    storage.delete(where.task_id.in_([3, 4]))
    storage.delete(where.everything())

Conditions given together are ANDed, also several on one field. Text is compared byte by byte
(UTF-8), on every storage. The compilation to SQL lives in `mqtasks.storage.sql`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Final, TypeAlias

import msgspec

from mqtasks.errors import InvalidArgument, InvalidCondition
from mqtasks.model import AsyncTask, ResultCode, TaskStatus, checked_id, executor_code

Value: TypeAlias = int | str


class Op(Enum):
    """How a field is compared with a value."""

    EQ = "="
    NE = "!="
    GT = ">"
    GE = ">="
    LT = "<"
    LE = "<="
    IN = "IN"


_COMPARE: Final[dict[Op, Callable[[Value, Value], bool]]] = {
    Op.EQ: operator.eq,
    Op.NE: operator.ne,
    Op.GT: operator.gt,
    Op.GE: operator.ge,
    Op.LT: operator.lt,
    Op.LE: operator.le,
}


class Condition(msgspec.Struct, frozen=True):
    """One part of a selection. Made by `where`; given to query, update and delete."""


class Compare(Condition, frozen=True):
    """``field op value``; ``value`` is already in its stored form (a tuple of them for IN)."""

    field: str
    op: Op
    value: Value | tuple[Value, ...]

    def holds(self, actual: Value | None) -> bool:
        """Return whether a stored value satisfies this comparison; no value never does."""
        if actual is None:
            return False
        if isinstance(self.value, tuple):
            return actual in self.value
        # Text: code point order is the order of the UTF-8 bytes, as the SQL storages compare.
        return _COMPARE[self.op](actual, self.value)


class Limit(Condition, frozen=True):
    """At most ``count`` tasks (>= 0)."""

    count: int


class TaskIdDesc(Condition, frozen=True):
    """Highest task id first; without it the order is ascending."""


class Everything(Condition, frozen=True):
    """Selects all; update and delete demand it (or a comparison) in writing."""


class Selection:
    """Conditions put together: comparisons ANDed, the smallest limit, and the order."""

    __slots__ = ("comparisons", "descending", "everything", "limit")

    def __init__(self, conditions: Iterable[Condition]) -> None:
        """Sort ``conditions`` into their parts; raises InvalidCondition for anything else."""
        self.comparisons: list[Compare] = []
        self.limit: int | None = None
        self.descending = False
        self.everything = False
        for condition in conditions:
            if isinstance(condition, Compare):
                self.comparisons.append(condition)
            elif isinstance(condition, Limit):
                count = condition.count
                self.limit = count if self.limit is None else min(self.limit, count)
            elif isinstance(condition, TaskIdDesc):
                self.descending = True
            elif isinstance(condition, Everything):
                self.everything = True
            else:
                raise InvalidCondition("condition", condition, "make conditions with `where`")

    def demand_explicit(self, operation: str) -> None:
        """Raise InvalidCondition unless something (or where.everything()) selects the rows."""
        if not self.comparisons and not self.everything:
            raise InvalidCondition(
                "conditions",
                (),
                f"{operation}() without a condition would touch every task; add a condition,"
                " or where.everything() if that is what you want",
            )

    def matches(self, task: AsyncTask) -> bool:
        """Return whether a task satisfies every comparison (limit and order aside)."""
        return all(item.holds(FIELDS[item.field].read(task)) for item in self.comparisons)

    def apply(self, tasks: Iterable[AsyncTask]) -> list[AsyncTask]:
        """Return the selected tasks in order, cut at the limit."""
        chosen = [task for task in tasks if self.matches(task)]
        chosen.sort(key=lambda task: task.id, reverse=self.descending)
        return chosen if self.limit is None else chosen[: self.limit]


def _whole(field: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidCondition(field, value, "compare it with an int")
    if not 0 <= value < 2**64:
        raise InvalidCondition(field, value, "must be between 0 and 2**64 - 1")
    return int(value)


def _status(field: str, value: object) -> int:
    try:
        return int(TaskStatus(_whole(field, value)))
    except ValueError:
        names = ", ".join(item.name for item in TaskStatus)
        raise InvalidCondition(field, value, f"must be a TaskStatus: {names}") from None


def _result_code(field: str, value: object) -> int:
    try:
        return int(ResultCode(_whole(field, value)))
    except ValueError:
        names = ", ".join(item.name for item in ResultCode)
        raise InvalidCondition(field, value, f"must be a ResultCode: {names}") from None


def _code_of(task: AsyncTask) -> int | None:
    return None if task.execute_result is None else int(task.execute_result.code)


def _text(field: str, value: object) -> str:
    try:
        return checked_id(field, value, empty=True)
    except InvalidArgument as error:
        raise InvalidCondition(error.field, error.value, error.remedy) from None


def _executor(field: str, value: object) -> str:
    if not isinstance(value, int | str):
        raise InvalidCondition(field, value, "compare it with an executor's int or name")
    try:
        return executor_code(value)
    except InvalidArgument as error:
        raise InvalidCondition(error.field, error.value, error.remedy) from None


class FieldInfo(msgspec.Struct, frozen=True):
    """How one field is read from a record and how a value for it is brought to stored form."""

    read: Callable[[AsyncTask], Value | None]
    store: Callable[[str, object], Value]


FIELDS: Final[dict[str, FieldInfo]] = {
    "task_id": FieldInfo(lambda task: task.id, _whole),
    "metadata_id": FieldInfo(lambda task: task.metadata.id, _text),
    "executor": FieldInfo(lambda task: executor_code(task.metadata.executor), _executor),
    "parent_task_id": FieldInfo(lambda task: task.parent_task_id, _text),
    "status": FieldInfo(lambda task: int(task.status), _status),
    "result_code": FieldInfo(_code_of, _result_code),
    "runner": FieldInfo(lambda task: task.runner, _text),
    "epoch": FieldInfo(lambda task: task.epoch, _whole),
    "attempt": FieldInfo(lambda task: task.attempt, _whole),
    "crashes": FieldInfo(lambda task: task.crashes, _whole),
    "run_at": FieldInfo(lambda task: task.run_at, _whole),
    "last_heartbeat": FieldInfo(lambda task: task.last_heartbeat, _whole),
    "created_at": FieldInfo(lambda task: task.created_at, _whole),
    "completed_at": FieldInfo(lambda task: task.completed_at, _whole),
}
"""Every field a condition can name; each storage maps the same names to its columns."""


class Field:
    """One field of a task; comparing it with a value makes a Condition."""

    __slots__ = ("name",)

    # Comparing makes a Condition, so a Field has no value equality of its own.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        """Name one of FIELDS."""
        self.name = name

    def compare(self, op: Op, value: object) -> Condition:
        """Return the condition ``field op value``; raises InvalidCondition for a wrong value."""
        if op is Op.IN:
            if isinstance(value, str | bytes) or not isinstance(value, Iterable):
                raise InvalidCondition(self.name, value, "in_() takes a list of values")
            return self.in_(list(value))
        return Compare(self.name, op, FIELDS[self.name].store(self.name, value))

    def in_(self, values: Sequence[object]) -> Condition:
        """Return the condition that the field has one of ``values``; none match an empty list."""
        store = FIELDS[self.name].store
        return Compare(self.name, Op.IN, tuple(store(self.name, value) for value in values))

    def __eq__(self, value: object) -> Condition:  # type: ignore[override]
        """``field == value``."""
        return self.compare(Op.EQ, value)

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]
        """``field != value``."""
        return self.compare(Op.NE, value)

    def __gt__(self, value: object) -> Condition:
        """``field > value``."""
        return self.compare(Op.GT, value)

    def __ge__(self, value: object) -> Condition:
        """``field >= value``."""
        return self.compare(Op.GE, value)

    def __lt__(self, value: object) -> Condition:
        """``field < value``."""
        return self.compare(Op.LT, value)

    def __le__(self, value: object) -> Condition:
        """``field <= value``."""
        return self.compare(Op.LE, value)


class Where:
    """The entry point of the language; use the ready-made ``where``."""

    task_id: Final = Field("task_id")
    metadata_id: Final = Field("metadata_id")
    executor: Final = Field("executor")
    parent_task_id: Final = Field("parent_task_id")
    status: Final = Field("status")
    result_code: Final = Field("result_code")
    runner: Final = Field("runner")
    epoch: Final = Field("epoch")
    attempt: Final = Field("attempt")
    crashes: Final = Field("crashes")
    run_at: Final = Field("run_at")
    last_heartbeat: Final = Field("last_heartbeat")
    created_at: Final = Field("created_at")
    completed_at: Final = Field("completed_at")

    @staticmethod
    def limit(count: int) -> Condition:
        """At most ``count`` tasks; raises InvalidCondition if it is not an int >= 0."""
        return Limit(_whole("limit", count))

    @staticmethod
    def task_id_desc() -> Condition:
        """Highest task id first."""
        return TaskIdDesc()

    @staticmethod
    def everything() -> Condition:
        """Every task: says in writing that an update or delete is meant to touch all."""
        return Everything()


where: Final = Where()
