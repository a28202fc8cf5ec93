"""`Task`: a function registered with an application, and how it is enqueued."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, Unpack

from mqtasks.app.call import DEFAULT_CHUNK, Call
from mqtasks.app.handle import TaskHandle
from mqtasks.app.options import CallFields, changed_options
from mqtasks.errors import InvalidArgument
from mqtasks.model import checked_id
from mqtasks.registry import TaskDefinition
from mqtasks.service import TaskService

if TYPE_CHECKING:
    from mqtasks.app.application import MQTasks

P = ParamSpec("P")
R = TypeVar("R")


class Task(Generic[P, R]):
    """A registered function. Calling it runs it here and now; `enqueue` makes it a task.

    Made by ``@app.task``. Immutable; safe to use from many threads.
    """

    def __init__(self, app: MQTasks, definition: TaskDefinition) -> None:
        """Bind ``definition`` to ``app``; users do not call this."""
        function = definition.function
        self._app = app
        self.definition: Final = definition
        self.function: Final = function
        self.__name__ = getattr(function, "__name__", str(definition.executor))
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    @property
    def code(self) -> int | str:
        """The executor code under which workers run this function."""
        return self.definition.executor

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function itself, in this process, without mqtasks."""
        return self.function(*args, **kwargs)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Create a task that calls the function with these arguments; it is committed on return.

        Arguments are checked against the signature and serialised first: PayloadError and
        PayloadTooLarge write nothing. Use `options` to name or delay the task.
        """
        return self.options().enqueue(*args, **kwargs)

    def enqueue_many(
        self,
        calls: Iterable[Sequence[Any] | Mapping[str, Any]],
        *,
        chunk: int = DEFAULT_CHUNK,
        progress: Callable[[int], object] | None = None,
    ) -> list[TaskHandle[R]]:
        """Create one task per call, ``chunk`` (>= 1) at a time, each chunk one transaction.

        A call is a sequence of positional arguments or a mapping of named ones; ``calls`` may be
        of any length and is read as it is needed. ``progress`` is told the running total after
        each chunk. If a chunk fails, those before it stay created.
        """
        return self.options().enqueue_many(calls, chunk=chunk, progress=progress)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """As `enqueue`, in a thread, so that an event loop goes on meanwhile.

        If the awaiting coroutine is cancelled the task may have been created all the same: give
        it an ``id`` where that matters.
        """
        return await self.options().aenqueue(*args, **kwargs)

    async def aenqueue_many(
        self,
        calls: Iterable[Sequence[Any] | Mapping[str, Any]],
        *,
        chunk: int = DEFAULT_CHUNK,
        progress: Callable[[int], object] | None = None,
    ) -> list[TaskHandle[R]]:
        """As `enqueue_many`, in a thread, which also reads ``calls`` and calls ``progress``."""
        return await self.options().aenqueue_many(calls, chunk=chunk, progress=progress)

    def options(self, **changes: Unpack[CallFields]) -> Call[P, R]:
        """Return a variant that enqueues with other options, typed as the task itself.

        Fields of `TaskOptions`, for example ``priority`` or ``max_retry_times``; what lasts is
        given in seconds or as a timedelta. ``key`` is short for ``concurrency_key``, ``delay`` for
        ``delay_duration``: how long from now the task is due. And, for a call alone:

        ``id``: the producer's own unique name (up to 255 bytes): creating it twice creates it once.
        ``at``: an aware datetime at which the task is due, instead of a delay.
        ``parent``: a metadata id that groups tasks.
        ``connection``: one of yours, with an open transaction: the task is committed or rolled
        back with it, see docs/how-to/transactions.md.

        Raises InvalidArgument.
        """
        given: dict[str, Any] = {**changes}
        name, at = given.pop("id", None), given.pop("at", None)
        parent, connection = given.pop("parent", ""), given.pop("connection", None)
        if at is not None and (given.get("delay") or given.get("delay_duration")):
            raise InvalidArgument("at", at, "give either at or delay, not both")
        if at is not None and at.tzinfo is None:
            raise InvalidArgument("at", at, "must be aware: add tzinfo, for example UTC")
        if name is not None:
            checked_id("id", name)
        run_at = 0 if at is None else max(1, int(at.astimezone(UTC).timestamp() * 1000))
        return Call(
            self.definition,
            self._service,
            changed_options(self.definition.options, given),
            id=name,
            parent=parent,
            run_at=run_at,
            connection=connection,
        )

    def _service(self) -> TaskService:
        return self._app.service

    def __repr__(self) -> str:
        """Return the executor code."""
        return f"Task({self.code!r})"
