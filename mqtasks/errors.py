"""Every error mqtasks raises, in one tree.

::

    MQTasksError
    ├── ConfigError                 a setting, URL or option is wrong
    │   └── InvalidArgument         one argument of one call is wrong
    │       ├── InvalidCondition    a `where` condition cannot be compiled
    │       └── InvalidCron         a cron expression or time zone is wrong
    ├── PayloadError                an argument or result cannot be (de)serialised
    │   └── PayloadTooLarge         ... or is over the size limit
    ├── UnknownExecutor             no executor is registered under that code
    ├── InvalidTask                 the task is no longer this (runner, epoch)'s
    ├── TaskNotFound                no such task is stored (any more)
    ├── TaskFailed                  the awaited task ended FAILED
    ├── TaskCanceled                the awaited task ended CANCELED
    ├── Verdict                     what an executor decides about its own task
    │   ├── Retry                   ... run it again, this attempt has failed
    │   ├── Snooze                  ... run it again later, nothing has failed
    │   ├── Cancel                  ... it is not wanted any more
    │   └── Fail                    ... nothing would help
    ├── TaskInterrupted             raised inside an executor that shall give up
    ├── ResultTimeout               the awaited task did not end in time
    ├── RunnerConflict              the runner id is alive under another holder, or fenced
    ├── NotLeader                   the leader lease or its term is no longer held
    ├── StorageError                the truth could not be read or written
    │   ├── StorageUnavailable      ... because the server cannot be reached (retry later)
    │   ├── StorageConflict         ... because of a deadlock or lock wait (retry at once)
    │   ├── SchemaMismatch          ... because the schema is older or newer than this code
    │   └── TransactionAborted      ... and the caller's own transaction is gone
    └── CoordinationUnavailable     Redis could not be reached (never fatal)

Beside the tree stands TaskAborted, a BaseException: it breaks an executor off from outside.

No name shadows a builtin. Errors carry the ids they speak of as attributes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

_MOST_SECONDS: Final = 2.0**53


class MQTasksError(Exception):
    """Base of every error raised by mqtasks on purpose."""


class ConfigError(MQTasksError):
    """A setting, URL or option is wrong. The message names field, value and remedy."""


class InvalidArgument(ConfigError):
    """One argument of one call is wrong; nothing was written."""

    def __init__(self, field: str, value: object, remedy: str) -> None:
        shown = repr(value)
        if len(shown) > 120:  # noqa: PLR2004 - keeps one bad argument from flooding a log line
            shown = f"{shown[:117]}..."
        super().__init__(f"{field}={shown}: {remedy}")
        self.field = field
        self.value = value
        self.remedy = remedy


class InvalidCondition(InvalidArgument):
    """A ``where`` condition compares a field with a value it cannot be compared with."""


class InvalidCron(InvalidArgument):
    """A cron expression or its time zone cannot be understood."""


class PayloadError(MQTasksError):
    """An argument or result cannot be serialised or read back."""


class PayloadTooLarge(PayloadError):
    """A payload is over its limit. ``size`` and ``limit`` are bytes."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"{what} is {size} bytes, the limit is {limit}: store large data elsewhere and pass"
            " a reference, or raise max_payload_bytes"
        )
        self.size = size
        self.limit = limit


class UnknownExecutor(MQTasksError):
    """No executor is registered under ``code``."""

    def __init__(self, code: int | str, known: tuple[int | str, ...] = ()) -> None:
        listed = ", ".join(str(item) for item in known) or "none"
        super().__init__(f"executor {code!r} is not registered (registered: {listed})")
        self.code = code
        self.known = known


class InvalidTask(MQTasksError):
    """The task was reassigned, has ended, or never was this (runner, epoch)'s.

    Whoever gets this must stop working on the task at once: nothing it writes will be accepted.
    """

    def __init__(
        self, task_id: int, runner: str = "", epoch: int = 0, why: str = "not owned any more"
    ) -> None:
        super().__init__(f"task {task_id} (runner {runner!r}, epoch {epoch}): {why}")
        self.task_id = task_id
        self.runner = runner
        self.epoch = epoch


class TaskNotFound(MQTasksError):
    """No task with this id is stored; it may have been pruned after its retention."""

    def __init__(self, task: int | str) -> None:
        super().__init__(f"task {task!r} is not stored (never created, or pruned)")
        self.task = task


class CronNotFound(MQTasksError):
    """No cron task with this metadata id is stored."""

    def __init__(self, cron_id: str) -> None:
        super().__init__(f"cron task {cron_id!r} is not stored (never added, or deleted)")
        self.cron_id = cron_id


class TaskFailed(MQTasksError):
    """The awaited task ended FAILED; ``error`` is the executor's last error text."""

    def __init__(self, task_id: int, error: str) -> None:
        super().__init__(f"task {task_id} failed: {error}")
        self.task_id = task_id
        self.error = error


class TaskCanceled(MQTasksError):
    """The awaited task ended CANCELED; ``reason`` says why, if that is known.

    It may be the executor's own reason, or the parent without which the task could not begin.
    """

    def __init__(self, task_id: int, reason: str = "") -> None:
        super().__init__(f"task {task_id} was canceled" + (f": {reason}" if reason else ""))
        self.task_id = task_id
        self.reason = reason


class TaskInterrupted(MQTasksError):
    """An executor asked ``ctx.check()`` and shall give up; ``reason`` says why."""

    def __init__(self, task_id: int, reason: str) -> None:
        super().__init__(f"task {task_id} is interrupted: {reason}")
        self.task_id = task_id
        self.reason = reason


class TaskAborted(BaseException):
    """Raised in the middle of an executor that was told to give up, and has not; ``reason`` why.

    No Exception, so that ``except Exception`` does not take it for one of the code's own: clean up
    in ``finally`` and let it pass. Whoever goes on is ended by force where that is possible.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the executor shall give up")
        self.reason = reason


class ResultTimeout(MQTasksError):
    """The awaited task did not end within ``timeout`` seconds; it goes on unharmed.

    ``tasks`` tells of how many this is true, ``task_id`` being the first of them.
    """

    def __init__(self, task_id: int, timeout: float, tasks: int = 1) -> None:
        others = f" and {tasks - 1} others have" if tasks > 1 else " has"
        super().__init__(f"task {task_id}{others} not ended after {timeout:g} s")
        self.task_id = task_id
        self.timeout = timeout
        self.tasks = tasks


class Verdict(MQTasksError):
    """What an executor decides about its own task: raise it, or return it. Not a failure as such.

    Base of `Retry`, `Snooze`, `Cancel` and `Fail`. A cancellation from outside, and a timeout, win.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or type(self).__name__.lower())
        self.reason = reason


class Retry(Verdict):
    """This attempt has failed; run the task again.

    ``after`` is seconds >= 0 or a timedelta, None = as the task's options say. It counts as an
    attempt: when ``max_retry_times`` are used up the task ends FAILED with ``reason``.
    """

    def __init__(self, reason: str = "", *, after: float | timedelta | None = None) -> None:
        super().__init__(reason)
        self.after: float | None = None if after is None else checked_seconds("after", after)


class Snooze(Verdict):
    """It is too early: run the task again after ``after`` (seconds >= 0, or a timedelta).

    Burns no attempt, however often it happens; the history keeps each one with its ``reason``.
    """

    def __init__(self, after: float | timedelta, reason: str = "") -> None:
        super().__init__(reason)
        self.after: float = checked_seconds("after", after)


class Cancel(Verdict):
    """The task is not wanted any more: it ends CANCELED, with ``reason`` in its history."""


class Fail(Verdict):
    """Nothing would help: the task ends FAILED with ``reason``, retries left or not."""


def checked_seconds(field: str, value: float | timedelta) -> float:
    """Return a duration in seconds; raises InvalidArgument unless it is from 0 to 2**53 s."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if type(seconds) not in {int, float} or not 0 <= seconds <= _MOST_SECONDS:
        raise InvalidArgument(field, value, "must be seconds >= 0, or a timedelta, and <= 2**53 s")
    return float(seconds)


class RunnerConflict(MQTasksError):
    """The runner id is alive under another holder, or this generation of it was fenced.

    ``lease_remaining`` is in seconds: how long until the id may be taken, 0.0 when unknown.
    """

    def __init__(self, runner_id: str, why: str, lease_remaining: float = 0.0) -> None:
        super().__init__(f"runner {runner_id!r}: {why}")
        self.runner_id = runner_id
        self.lease_remaining = lease_remaining


class NotLeader(MQTasksError):
    """A write that only the leader may make named a lease or term that is no longer held."""

    def __init__(self, holder: str, term: int) -> None:
        super().__init__(f"scheduler {holder!r} does not lead in term {term} any more")
        self.holder = holder
        self.term = term


class StorageError(MQTasksError):
    """The storage refused or failed an operation."""


class StorageUnavailable(StorageError):
    """The storage cannot be reached, or demoted itself; the outcome of a write is unknown."""


class StorageConflict(StorageError):
    """A deadlock or lock wait timeout that outlived its bounded retries; nothing was written."""


class SchemaMismatch(StorageError):
    """The schema is missing, too old or too new; the message holds the command to run."""


class TransactionAborted(StorageError):
    """An operation on the caller's own connection failed: roll the whole transaction back."""


class CoordinationUnavailable(MQTasksError):
    """Redis could not be reached. Only monitoring calls raise it; hints never do."""
