"""What an executor gets to know about its execution, and what it may say."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any, Final, ParamSpec, TypeVar, overload

import msgspec
from msgspec.structs import replace

from mqtasks.errors import InvalidArgument, MQTasksError, TaskInterrupted
from mqtasks.model import MAX_MESSAGE, AsyncTask, ParentResult, Progress, StepRecord
from mqtasks.process.interrupt import shield
from mqtasks.worker.held import Cancel, Held
from mqtasks.worker.patience import patiently, patiently_async
from mqtasks.worker.relatives import RAISE, ChildPlan, Offspring, Relatives, values_of
from mqtasks.worker.steps import StepBook, StepStore
from mqtasks.worker.task_log import TaskLog, log_of
from mqtasks.worker.transaction import TaskTransaction, Transactions

P = ParamSpec("P")
R = TypeVar("R")
D = TypeVar("D")
H = TypeVar("H")

NO_PROGRESS: Final = Progress()
_LOST: Final = frozenset({Cancel.REASSIGNED, Cancel.LEASE})
_making_books: Final = threading.Lock()

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
    report_progress: Callable[[Held, bytes | Progress], None]
    encode: Callable[[Any], bytes]
    """A result or progress value as bytes."""
    log: logging.Logger
    transactions: Transactions
    steps: StepStore
    """Where steps are kept."""
    relatives: Relatives


class TaskContext:
    """Handed to each executor beside the task. Valid until the executor returns.

    All of it may be used from the executor's thread or coroutine, and from threads it starts.
    """

    __slots__ = ("_book", "_held", "_log", "_offspring", "_progress", "_surroundings")

    def __init__(self, held: Held, surroundings: Surroundings) -> None:
        self._held = held
        self._surroundings = surroundings
        self._log: TaskLog | None = None
        self._book: StepBook | None = None
        self._offspring: Offspring | None = None
        self._progress = NO_PROGRESS

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
        """How often the task was allocated; 1 = this is its first execution.

        A fencing token: later executions have higher ones, so whatever keeps the highest that it
        has seen can refuse an earlier execution that comes back. See docs/how-to/context.md.
        """
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
        """Why it shall give up; empty = it shall go on.

        ``canceled``, ``timeout``, ``deadline``, ``reassigned``, ``lease lapsed`` or ``shutdown``.
        After ``reassigned`` and ``lease lapsed`` another runner may execute the task already.
        """
        return self._seen()

    def _seen(self) -> str:
        held = self._held
        reason = held.cancel_reason
        if reason:
            held.told = True
        return reason

    def is_alive(self) -> bool:
        """Return whether this execution still owns its task, as far as its process knows.

        False after ``reassigned`` and ``lease lapsed``: stop, and change nothing outside. Asks
        nobody, and True only says that nothing else was heard: what must not happen twice takes
        the `epoch` along.
        """
        return self._held.cancel_reason not in _LOST

    def check(self) -> None:
        """Raise TaskInterrupted if the executor shall give up."""
        if reason := self._seen():
            raise TaskInterrupted(self._held.task_id, reason)

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds (None: for ever); return whether it was cancelled.

        A sleep that ends at once when the executor shall give up. Raises MQTasksError in an
        ``async def`` executor, whose event loop it would block: any ``await`` does the same there.
        """
        self._demand_thread("wait_cancelled", "`await asyncio.sleep(...)`, which it interrupts")
        held = self._held
        event = held.cancel_event
        if event is None:
            event = held.cancel_event = threading.Event()
        # The reason is set before the event is looked up, so one of the two is always seen.
        if not held.cancel_reason:
            event.wait(timeout)
        return bool(self._seen())

    @property
    def deadline(self) -> float | None:
        """When this attempt's time is over, in seconds of `Clock.monotonic`; None = never.

        By its timeout or the task's own deadline, whichever comes first.
        """
        return self._held.deadline or None

    def remaining(self) -> float | None:
        """Return the seconds that are left until then, >= 0; None = any number."""
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
        self._progress = progress = replace(self._progress, raw=data)
        bare = progress.fraction is None
        with shield:
            surroundings.report_progress(self._held, data if bare else progress)

    def progress(self, fraction: float, message: str = "") -> None:
        """Store how far the task is: ``fraction`` from 0.0 to 1.0, and a text for people.

        Returns at once; written as seldom as by `report_progress`, whose last value is kept
        beside it. A message is cut after 1,000 characters. Raises InvalidArgument for a fraction
        out of range, or a message that is no text. Read it by `TaskHandle.progress`.
        """
        if isinstance(fraction, bool) or not isinstance(fraction, int | float):
            raise InvalidArgument("fraction", fraction, "must be a number from 0.0 to 1.0")
        if not 0 <= fraction <= 1:
            raise InvalidArgument("fraction", fraction, "must be from 0.0 to 1.0")
        if not isinstance(message, str):
            raise InvalidArgument("message", message, "must be text")
        text = message[:MAX_MESSAGE].encode(errors="backslashreplace").decode()
        self._progress = replace(self._progress, fraction=float(fraction), message=text)
        with shield:
            self._surroundings.report_progress(self._held, self._progress)

    # -- steps -----------------------------------------------------------------------------------

    def step(self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return ``function(*args, **kwargs)``, run once in the life of the task if it succeeds.

        Its result is stored before this returns, under ``name`` (1 to 255 bytes, unique within an
        execution). When the task runs again, after a crash or a retry, the stored result comes
        back and the function is not called. In both cases the result is what was stored, read as
        the function's return annotation says, so that the first run sees what a later one will.

        A function that raises stores nothing. A crash between its end and the commit of its
        result runs it again: make its effects idempotent.

        Raises TaskInterrupted, before it begins, if the executor shall give up; InvalidTask if
        the task is not this runner's any more, and nothing was stored; InvalidArgument for a name
        used twice; PayloadError or PayloadTooLarge for a result that cannot be stored; MQTasksError
        in the event loop and for a coroutine function, which `astep` takes. While storage is away
        it waits, until the executor shall give up.
        """
        self._demand_thread("step", "`await ctx.astep(...)`")
        result: R = self._steps.run(name, function, args, kwargs)
        return result

    @overload
    async def astep(
        self, name: str, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    @overload
    async def astep(
        self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    async def astep(
        self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """As `step`, for ``async def`` executors.

        Takes coroutine functions, which it awaits, and plain ones, which it runs on a thread.
        """
        return await self._steps.run_async(name, function, args, kwargs)

    @property
    def steps(self) -> tuple[StepRecord, ...]:
        """The steps that are stored, in the order in which they were. Reads storage once."""
        return self._steps.all()

    @property
    def _steps(self) -> StepBook:
        book = self._book
        if book is None:
            with _making_books:
                book = self._book
                if book is None:
                    book = self._book = StepBook(self, self._held, self._surroundings.steps)
        return book

    # -- relatives -------------------------------------------------------------------------------

    def enqueue_child(self, plan: ChildPlan[H], *, after: Sequence[Any] = ()) -> H:
        """Create a plan (``task.s(...)``, a chain, a group) on behalf of this task.

        Committed on return, if this runner still owns the task: a worker that was thought dead
        makes none. Ids follow from the task's, ``<id>/<executor code>:<n>``, so an execution that
        makes the same calls in the same order as an earlier one makes nothing new. Children have
        the task as their ``parent_task_id``, and outlive it. ``after``: handles or metadata ids of
        tasks that must have succeeded before the plan begins, earlier children, say.

        With a ``connection`` among the plan's options the rows follow your transaction: complete
        the task in the same one, see `transaction`, to have both or neither.

        Raises TaskInterrupted, before it writes, if the executor shall give up; InvalidTask if the
        task is not this runner's any more, and nothing was written; InvalidArgument as
        `Plan.enqueue`, and where an earlier execution has made another call under this id;
        MQTasksError in the event loop, where `aenqueue_child` serves. While storage is away it
        waits, until the executor shall give up.
        """
        self._demand_thread("enqueue_child", "`await ctx.aenqueue_child(...)`")
        self.check()
        return patiently(self, self._children.prepare(plan, after))

    async def aenqueue_child(self, plan: ChildPlan[H], *, after: Sequence[Any] = ()) -> H:
        """As `enqueue_child`, for ``async def`` executors; ids count in the order of the calls.

        A ``connection`` cannot be among the options: it stays in its own thread.
        """
        self.check()
        return await patiently_async(self._children.prepare(plan, after, here=False))

    def parents(self) -> list[ParentResult]:
        """Return what became of the tasks that this one waited for, in the order of ``after``.

        Reads storage: in an ``async def`` executor by `asyncio.to_thread`.
        """
        self._demand_thread("parents", "`await asyncio.to_thread(ctx.parents)`")
        return patiently(self, lambda: self._surroundings.relatives.parents(self._held))

    @overload
    def parent_results(self, /) -> list[Any]: ...

    @overload
    def parent_results(self, wanted: type[R], /) -> list[R]: ...

    @overload
    def parent_results(self, wanted: type[R], /, *, default: D) -> list[R | D]: ...

    def parent_results(self, wanted: Any = Any, /, *, default: Any = RAISE) -> list[Any]:
        """Return the results of the tasks that this one waited for, in the order of ``after``.

        Of a group these are the results of its members. Plain values, or all as the type
        ``wanted``. For a parent that did not succeed (see ``on_failure``) ``default`` stands, or
        what `TaskHandle.result` raises is raised. Raises PayloadError for a result that does not
        fit. Reads storage: in an ``async def`` executor by `asyncio.to_thread`.
        """
        self._demand_thread("parent_results", "`await asyncio.to_thread(ctx.parent_results)`")
        return values_of(self.parents(), self._held.executor.codec, wanted, default)

    @property
    def _children(self) -> Offspring:
        made = self._offspring
        if made is None:
            with _making_books:
                made = self._offspring
                if made is None:
                    made = self._offspring = Offspring(self._held, self._surroundings.relatives)
        return made

    def _demand_thread(self, name: str, instead: str) -> None:
        if self._held.coroutine is not None and _in_event_loop():
            raise MQTasksError(f"{name} would block the event loop; use {instead}")

    # -- ending ----------------------------------------------------------------------------------

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
        data = self._encode(value)
        with shield:
            joined = transactions.join(connection, begin=False)
            transactions.complete(self._held, data, joined)

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
            surroundings = self._surroundings
            self._log = log_of(self._held, surroundings.log, surroundings.runner_id)
        return self._log


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
