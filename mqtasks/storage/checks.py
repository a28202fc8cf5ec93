"""Checks and decisions that every storage shares, so that all refuse and say the same."""

from __future__ import annotations

from typing import Final

import msgspec

from mqtasks.errors import InvalidArgument
from mqtasks.model import (
    MAX_EPOCH,
    AsyncTask,
    ExecuteResult,
    NewTask,
    ResultCode,
    StepRecord,
    TaskStatus,
    checked_id,
)
from mqtasks.storage.links import check_links
from mqtasks.storage.plans import check_plan
from mqtasks.storage.windows import check_window

MAX_NUMBER: Final = 2**63 - 1
"""Highest time, id and counter that every storage can keep."""

_MAX_COUNT: Final = 2**32 - 1
_NUMBERS: Final[dict[str, int]] = {
    "generation": MAX_NUMBER,
    "epoch": MAX_EPOCH,
    "attempt": _MAX_COUNT,
    "crashes": _MAX_COUNT,
    "reassigned": _MAX_COUNT,
    "run_at": MAX_NUMBER,
    "last_heartbeat": MAX_NUMBER,
    "created_at": MAX_NUMBER,
    "started_at": MAX_NUMBER,
    "completed_at": MAX_NUMBER,
}
_SURROGATES_SHOWN: Final = "backslashreplace"


def check_new(task: NewTask) -> None:
    """Raise InvalidArgument for the first field of a new task that no storage would take."""
    task.metadata.validate()
    checked_id("parent_task_id", task.parent_task_id, empty=True)
    checked_number("run_at", task.run_at)
    if task.after or task.child_of:
        check_links(task)
    if task.unique_key or task.unique_ms:
        check_window(task)
    if task.plan:
        check_plan(task)


def check_record(task: AsyncTask) -> None:
    """Raise InvalidArgument for the first field of a whole row that no storage would take."""
    task.metadata.validate()
    checked_id("parent_task_id", task.parent_task_id, empty=True)
    checked_id("runner", task.runner, empty=True)
    checked_status(task.status)
    for field, most in _NUMBERS.items():
        checked_number(field, getattr(task, field), most)
    if abs(task.priority) >= 2**31:
        raise InvalidArgument("priority", task.priority, "must fit 32 bits, signed")
    if not isinstance(task.progress, bytes):
        raise InvalidArgument("progress", task.progress, "must be bytes")
    if task.execute_result is not None:
        checked_result(task.execute_result)


def checked_number(field: str, value: object, most: int = MAX_NUMBER) -> int:
    """Return ``value`` if it is an int from 0 to ``most``; raises InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(field, value, "must be an int")
    if not 0 <= value <= most:
        raise InvalidArgument(field, value, f"must be between 0 and {most}")
    return value


def checked_status(value: object) -> TaskStatus:
    """Return ``value`` as a TaskStatus; raises InvalidArgument."""
    try:
        return TaskStatus(value)  # type: ignore[arg-type]
    except ValueError:
        names = ", ".join(item.name for item in TaskStatus)
        raise InvalidArgument("status", value, f"must be a TaskStatus: {names}") from None


def checked_result(result: ExecuteResult) -> ExecuteResult:
    """Return ``result`` as storage keeps it; raises InvalidArgument."""
    try:
        code = ResultCode(result.code)
    except ValueError:
        raise InvalidArgument("execute_result.code", result.code, "must be a ResultCode") from None
    if not isinstance(result.value, bytes):
        raise InvalidArgument("execute_result.value", result.value, "must be bytes")
    error = stored_text(result.error)
    if code is result.code and error is result.error:
        return result
    return msgspec.structs.replace(result, code=code, error=error)


def checked_step(step: StepRecord) -> None:
    """Raise InvalidArgument for the first field of a step that no storage would take."""
    checked_id("step.name", step.name)
    checked_number("step.number", step.number, _MAX_COUNT)
    if not isinstance(step.value, bytes):
        raise InvalidArgument("step.value", step.value, "must be bytes")


def stored_text(text: str) -> str:
    """Return free text (errors, tracebacks) as storage keeps it.

    Unlike an id it is never refused: lone surrogates, as in the error text of an undecodable
    file name, become visible escapes. Otherwise no attempt at such a task could ever be ended.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors=_SURROGATES_SHOWN).decode()
    return text


LEASE_LAPSED: Final = "the lease of its runner lapsed: no renewal came in time"
RUNNER_GONE: Final = "its runner is gone"
STARTED_ANEW: Final = "its runner was started anew, and the one before had not stopped in order"
"""Errors of attempts that ended with their runner, where nobody knows more."""


def cap_error(
    crashes: int, max_crashes: int, reassigned: int, max_reassign_times: int
) -> str | None:
    """Return why a task taken from a lost runner ends FAILED; None if it runs again (P8).

    The counts are those after this rescue.
    """
    if crashes > max_crashes:
        return (
            f"its process died {crashes} times while the executor ran"
            f" (max_crashes is {max_crashes})"
        )
    if 0 < max_reassign_times < reassigned:
        return (
            f"it was taken from a lost runner {reassigned} times"
            f" (max_reassign_times is {max_reassign_times})"
        )
    return None
