"""`Task`: a function registered with an application, and how it is enqueued."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, Unpack

from mqtasks.app.call import DEFAULT_CHUNK, Call
from mqtasks.app.dependence import parent_ids, policy_named
from mqtasks.app.handle import TaskHandle
from mqtasks.app.options import CallFields, changed_options
from mqtasks.app.plan import PlannedCall
from mqtasks.app.unique import changed_window
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
    def app(self) -> MQTasks:
        """The application it is registered with."""
        return self._app

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

    def s(self, *args: P.args, **kwargs: P.kwargs) -> PlannedCall[R]:
        """Return this call as a plan that is not enqueued yet, to be made part of others.

        See `chain`, `group`, `Plan.then` and `TaskContext.enqueue_child`. Arguments are checked and
        serialised now: raises PayloadError.
        """
        return self.options().s(*args, **kwargs)

    def options(self, **changes: Unpack[CallFields]) -> Call[P, R]:
        """Return a variant that enqueues with other options, typed as the task itself.

        Fields of `TaskOptions`, for example ``priority`` or ``max_retry_times``; what lasts is
        given in seconds or as a timedelta. ``key`` is short for ``concurrency_key``, ``delay`` for
        ``delay_duration``: how long from now the task is due. ``deadline`` may be an aware datetime
        as well. And, for a call alone:

        ``id``: the producer's own unique name (up to 255 bytes): creating it twice creates it once.
        ``at``: an aware datetime at which the task is due, instead of a delay.
        ``parent``: a metadata id that groups tasks.
        ``connection``: one of yours, with an open transaction: the task is committed or rolled
        back with it, see docs/how-to/transactions.md.
        ``after``: handles or metadata ids of tasks that must have succeeded before. A ``delay``
        begins then.
        ``on_failure``: what becomes of the task if one of them has not: ``cancel`` it (default),
        ``fail`` it, or ``run`` it all the same.
        ``unique_for``: so long, from its creation on, calls with the same arguments are this one
        task, whatever becomes of it: they get its handle, with ``is_new`` False. At least a
        millisecond; None = no window, whatever the task's own default is.
        ``unique_key``: what makes calls the same instead of their arguments.

        Raises InvalidArgument.
        """
        given: dict[str, Any] = {**changes}
        name, at = given.pop("id", None), given.pop("at", None)
        parent, connection = given.pop("parent", ""), given.pop("connection", None)
        after = parent_ids(given.pop("after", ()))
        on_failure = policy_named(given.pop("on_failure", "cancel"))
        if at is not None and (given.get("delay") or given.get("delay_duration")):
            raise InvalidArgument("at", at, "give either at or delay, not both")
        if at is not None and not isinstance(at, datetime):
            raise InvalidArgument(
                "at", at, "must be an aware datetime: datetime.now(UTC) + timedelta(days=1)"
            )
        if at is not None and at.tzinfo is None:
            raise InvalidArgument("at", at, "must be aware: add tzinfo, for example UTC")
        window = changed_window(
            self.definition.window,
            {key: given.pop(key) for key in ("unique_for", "unique_key") if key in given},
        )
        if name is not None:
            checked_id("id", name)
            if window is not None:
                raise InvalidArgument(
                    "id", name, "names the task already: leave it out, or give unique_for=None"
                )
        run_at = 0 if at is None else max(1, int(at.astimezone(UTC).timestamp() * 1000))
        return Call(
            self.definition,
            self._service,
            changed_options(self.definition.options, given),
            id=name,
            parent=parent,
            run_at=run_at,
            connection=connection,
            after=after,
            on_failure=on_failure,
            window=window,
        )

    def _service(self) -> TaskService:
        return self._app.service

    def __repr__(self) -> str:
        """Return the executor code."""
        return f"Task({self.code!r})"
