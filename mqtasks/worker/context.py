"""What an executor gets to know about its execution, and what it may say."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import msgspec

from mqtasks.errors import MQTasksError, TaskInterrupted
from mqtasks.model import AsyncTask
from mqtasks.worker.held import Held
from mqtasks.worker.transaction import TaskTransaction, Transactions

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter

current: ContextVar[TaskContext | None] = ContextVar("mqtasks_task_context", default=None)


def current_context() -> TaskContext:
    """Return the context of the task that this thread or coroutine executes.

    Raises MQTasksError outside of an executor.
    """
    context = current.get()
    if context is None:
        raise MQTasksError("no task is being executed here")
    return context


class Surroundings(msgspec.Struct, frozen=True, eq=False):
    """What all contexts of a runner share."""

    runner_id: str
    now: Callable[[], float]
    report_progress: Callable[[Held, bytes], None]
    encode: Callable[[Any], bytes]
    """A result or progress value as bytes."""
    log: logging.Logger
    transactions: Transactions


class TaskContext:
    """Handed to each executor beside the task. Valid until the executor returns.

    All of it may be used from the executor's thread or coroutine, and from threads it starts.
    """

    __slots__ = ("_held", "_log", "_surroundings")

    def __init__(self, held: Held, surroundings: Surroundings) -> None:
        self._held = held
        self._surroundings = surroundings
        self._log: TaskLog | None = None

    @property
    def task(self) -> AsyncTask:
        """The task as allocated."""
        return self._held.task

    @property
    def task_id(self) -> int:
        """Storage's number of the task."""
        return self._held.task_id

    @property
    def epoch(self) -> int:
        """How often the task was allocated; 1 = this is its first execution."""
        return self._held.epoch

    @property
    def attempt(self) -> int:
        """How often the executor has failed before."""
        return self._held.task.attempt

    @property
    def runner_id(self) -> str:
        """The runner that executes it."""
        return self._surroundings.runner_id

    # -- giving up -------------------------------------------------------------------------------

    @property
    def cancelled(self) -> bool:
        """Whether the executor shall give up; poll it in long loops.

        Once true it stays true. An ``async def`` executor also gets asyncio.CancelledError.
        An executor that has seen it, here or by the methods below, and returns, has given up: its
        task runs again later, unless a timeout or a cancellation was the reason. One that never
        looked, and so has done all its work, still succeeds.
        """
        return bool(self._seen())

    @property
    def cancel_reason(self) -> str:
        """Why: ``canceled``, ``timeout``, ``reassigned``, ``lease lapsed`` or ``shutdown``; ``""``.

        After ``reassigned`` and ``lease lapsed`` another runner may execute the task already.
        """
        return self._seen()

    def _seen(self) -> str:
        held = self._held
        reason = held.cancel_reason
        if reason:
            held.told = True
        return reason

    def check(self) -> None:
        """Raise TaskInterrupted if the executor shall give up."""
        if reason := self._seen():
            raise TaskInterrupted(self._held.task_id, reason)

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds (None: for ever); return whether it was cancelled.

        A sleep that ends at once when the executor shall give up. Raises MQTasksError in an
        ``async def`` executor, whose event loop it would block: any ``await`` does the same there.
        """
        held = self._held
        if held.coroutine is not None and _in_event_loop():
            raise MQTasksError(
                "wait_cancelled would block the event loop; await asyncio.sleep(...) instead, it"
                " raises asyncio.CancelledError when the task is cancelled"
            )
        event = held.cancel_event
        if event is None:
            event = held.cancel_event = threading.Event()
        # The reason is set before the event is looked up, so one of the two is always seen.
        if not held.cancel_reason:
            event.wait(timeout)
        return bool(self._seen())

    @property
    def deadline(self) -> float | None:
        """When the task's timeout is over, in seconds of `Clock.monotonic`; None = it has none."""
        return self._held.deadline or None

    def remaining(self) -> float | None:
        """Return the seconds left of the task's timeout, >= 0; None if it has none."""
        if not self._held.deadline:
            return None
        return max(0.0, self._held.deadline - self._surroundings.now())

    # -- saying ----------------------------------------------------------------------------------

    def report_progress(self, value: Any) -> None:
        """Store how far the task is: bytes as they are, other values as a result would be.

        Returns at once. At most about one write a second reaches storage, the last value always
        does; a task that was taken away is cancelled by it. Raises PayloadError for a value that
        cannot be encoded.
        """
        surroundings = self._surroundings
        data = value if type(value) is bytes else surroundings.encode(value)
        surroundings.report_progress(self._held, data)

    def transaction(self, connection: Any) -> TaskTransaction:
        """Return a block whose writes on ``connection`` and the task's completion commit together.

        Leaving the block completes the task, with ``result`` of the block as its result, if and
        only if this runner still owns it in this epoch; otherwise all is rolled back and
        InvalidTask raised, as it is when a cancellation was requested. ``connection`` leads to the
        database of the tasks: PyMySQL, mysqlclient, sqlite3, a SQLAlchemy Connection or Session, a
        Django connection. Raises InvalidArgument for any other, TransactionAborted for an error of
        the database: nothing is tried again. It blocks; in an ``async def`` executor use it in
        `asyncio.to_thread`.
        """
        return TaskTransaction(
            self._held, connection, self._surroundings.transactions, self._encode
        )

    def complete(self, value: Any = None, *, connection: Any) -> None:
        """Write the task's completion into the transaction open on ``connection``; you commit it.

        As `transaction`, for code whose framework commits. If it raises, roll back. A task whose
        executor returns without that commit has failed this attempt.
        """
        transactions = self._surroundings.transactions
        joined = transactions.join(connection, begin=False)
        transactions.complete(self._held, self._encode(value), joined)

    def _encode(self, value: Any) -> bytes:
        if value is None:
            return b""
        # As the executor's return value is stored: an application's task has a codec of its own.
        encode: Callable[[Any], bytes] | None = getattr(self._held.executor.call, "encode", None)
        if encode is not None:
            return encode(value)
        return value if type(value) is bytes else self._surroundings.encode(value)

    @property
    def log(self) -> TaskLog:
        """A logger that adds task id, epoch, attempt and runner to each record."""
        if self._log is None:
            held, surroundings = self._held, self._surroundings
            self._log = TaskLog(
                surroundings.log.getChild("task"),
                {
                    "task_id": held.task_id,
                    "epoch": held.epoch,
                    "attempt": held.task.attempt,
                    "runner": surroundings.runner_id,
                },
            )
        return self._log


class TaskLog(_Adapter):
    """Puts the ids into each record's attributes, and the task id in front of its message."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the ids to one record; its own ``extra`` wins."""
        ids = self.extra or {}
        kwargs["extra"] = {**ids, **(kwargs.get("extra") or {})}
        return f"task {ids['task_id']}: {msg}", kwargs


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
