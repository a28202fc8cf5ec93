"""`Middleware`: what stands around creating and executing tasks, and hears of failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from mqtasks.errors import ConfigError
from mqtasks.middleware.chain import CallNext
from mqtasks.model import AsyncTask, AttemptOutcome
from mqtasks.payload import is_async

if TYPE_CHECKING:
    from mqtasks.middleware.enqueue import EnqueueContext


class ExecutionContext(Protocol):
    """What a middleware sees of an execution; `mqtasks.TaskContext` is one, with more to it."""

    @property
    def task(self) -> AsyncTask:
        """The task as allocated; its headers are ``task.metadata.options.headers``."""
        ...

    @property
    def task_id(self) -> int:
        """Storage's number of the task."""
        ...

    @property
    def epoch(self) -> int:
        """How often the task was allocated; 1 = this is its first execution."""
        ...

    @property
    def attempt(self) -> int:
        """How often the executor has failed before."""
        ...

    @property
    def runner_id(self) -> str:
        """The runner that executes it."""
        ...


class Failure(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One attempt that has failed, told before that is committed."""

    task: AsyncTask
    """The task as it was allocated to this attempt."""
    runner_id: str
    """Where it ran."""
    attempt: int
    """Which attempt has failed, counted from 1."""
    outcome: AttemptOutcome
    """FAILED, TIMED_OUT, or CRASHED where an executor has a process of its own."""
    text: str
    """What is stored as the attempt's error."""
    error: BaseException | None
    """What was raised, with its traceback; None if nothing was: after a timeout, for example."""
    will_retry: bool
    """False = the task ends FAILED, unless its runner has lost it by now."""
    delay_ms: int | None
    """How long the task waits for its next attempt, in milliseconds; None = there is none."""


class Middleware:
    """Base of a middleware: override what you need. Hand an instance to ``app.use``.

    One instance serves all threads and event loops of a process at once.
    """

    def enqueue(self, call_next: CallNext[EnqueueContext], context: EnqueueContext) -> Any:
        """Stand around one creation of tasks: ``context.tasks`` are all that it creates.

        Call ``call_next(context)``; then ``context.created`` tells what was made of each task.
        Raise before it to refuse: nothing is written, and the producer gets the error. To return
        without calling on is an error. What is returned is ignored. Runs in the producer's thread;
        for `aenqueue` in a thread of its own, with a copy of the caller's context variables.
        """
        return call_next(context)

    def execute(self, call_next: CallNext[ExecutionContext], context: ExecutionContext) -> Any:
        """Stand around one execution of a ``def`` executor, in its thread.

        Returns the task's result: ``return call_next(context)``. What it raises fails the attempt,
        whose retries are those of the task. Without ``call_next`` the executor does not run, and
        what is returned counts as its result.
        """
        return call_next(context)

    async def aexecute(
        self, call_next: CallNext[ExecutionContext], context: ExecutionContext
    ) -> Any:
        """As `execute`, for ``async def`` executors: ``return await call_next(context)``."""
        return await call_next(context)

    def failed(self, failure: Failure) -> object:
        """Hear of an attempt that failed, also of timeouts that no exception told of.

        Called where the executor ran, in its context, and possibly in an event loop: be quick.
        What it raises is logged and changes nothing.
        """


def overrides(middleware: Middleware, name: str) -> bool:
    """Return whether a class below `Middleware` has defined ``name``.

    ``aexecute = Middleware.aexecute`` in a class says: on purpose nothing.
    """
    kinds = type(middleware).__mro__
    return any(name in kind.__dict__ for kind in kinds[: kinds.index(Middleware)])


def checked(middleware: Middleware) -> Middleware:
    """Return ``middleware``. Raises ConfigError for what could not work as one."""
    if not isinstance(middleware, Middleware):
        raise ConfigError(
            f"{middleware!r} is no middleware: make it from a subclass of mqtasks.Middleware, or by"
            " mqtasks.around(context_manager)"
        )
    name = type(middleware).__qualname__
    for method in ("enqueue", "execute", "failed"):
        if is_async(getattr(middleware, method)):
            remedy = "aexecute" if method == "execute" else "a plain `def`"
            raise ConfigError(f"{name}.{method} must not be `async def`; use {remedy}")
    return middleware
