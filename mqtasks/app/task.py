"""`Task`: a function registered with an application, and how it is enqueued."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar

import msgspec

from mqtasks.app.handle import TaskHandle
from mqtasks.app.ids import new_metadata_id
from mqtasks.errors import InvalidArgument
from mqtasks.model import NewTask, TaskMetadata, TaskOptions, checked_id
from mqtasks.registry import TaskDefinition

if TYPE_CHECKING:
    from mqtasks.app.application import MQTasks

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_CHUNK: Final = 1000


class Task(Generic[P, R]):
    """A registered function. Calling it runs it here and now; `enqueue` makes it a task.

    Made by ``@app.task``. Immutable; safe to use from many threads.
    """

    def __init__(self, app: MQTasks, definition: TaskDefinition) -> None:
        """Bind ``definition`` to ``app``; users do not call this."""
        function = definition.function
        self._app = app
        self._return_type: Any = definition.signature.return_type if definition.signature else Any
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

    def options(
        self,
        *,
        id: str | None = None,  # noqa: A002 - the field's name everywhere
        delay: float | timedelta = 0.0,
        at: datetime | None = None,
        parent: str = "",
        connection: Any = None,
        **changes: Any,
    ) -> Call[P, R]:
        """Return a variant that enqueues with other options, typed as the task itself.

        ``id`` is the producer's own unique name (up to 255 bytes): creating it twice creates it
        once. ``delay`` (seconds >= 0 or timedelta) or ``at`` (aware datetime) say when it is due.
        ``parent`` is a metadata id that groups tasks. ``connection`` is one of yours, with an open
        transaction: the task is committed or rolled back with it, see docs/how-to/transactions.md.
        ``changes`` are fields of `TaskOptions`,
        for example ``priority`` or ``max_retry_times``.
        """
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
        if not seconds >= 0:
            raise InvalidArgument("delay", delay, "must be >= 0 seconds, or a timedelta")
        if at is not None and seconds:
            raise InvalidArgument("at", at, "give either at or delay, not both")
        if at is not None and at.tzinfo is None:
            raise InvalidArgument("at", at, "must be aware: add tzinfo, for example UTC")
        options = self.definition.options
        if seconds:
            changes["delay_duration"] = float(seconds)
        if changes:
            unknown = sorted(set(changes) - set(TaskOptions.__struct_fields__))
            if unknown:
                known = ", ".join(TaskOptions.__struct_fields__)
                raise InvalidArgument("options", unknown[0], f"is no option; known: {known}")
            options = msgspec.structs.replace(options, **changes)
            options.validate()
        if id is not None:
            checked_id("id", id)
        run_at = 0 if at is None else max(1, int(at.astimezone(UTC).timestamp() * 1000))
        return Call(self, id, parent, run_at, options, connection=connection)

    def _new(
        self,
        call: Call[P, R],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> NewTask:
        definition = self.definition
        context = definition.codec.encode_call(args, kwargs, definition.signature)
        name = call.id or new_metadata_id()
        metadata = TaskMetadata(name, definition.executor, context, call.options)
        return NewTask(metadata, call.parent, call.run_at)

    def _create(self, tasks: Sequence[NewTask], connection: Any) -> list[TaskHandle[R]]:
        service = self._app.service
        if connection is None:
            created = service.create_tasks(tasks)
        else:
            created = service.create_tasks_in(connection, tasks)
        return [
            TaskHandle(
                self._service, made.task_id, task.metadata.id, self._decode, is_new=made.is_new
            )
            for task, made in zip(tasks, created, strict=True)
        ]

    def _service(self) -> Any:
        return self._app.service

    def _decode(self, value: bytes) -> R:
        result: R = self.definition.codec.decode_result(value, self._return_type)
        return result

    def __repr__(self) -> str:
        """Return the executor code."""
        return f"Task({self.code!r})"


class Call(Generic[P, R]):
    """A task with options for one or more calls; see `Task.options`. Immutable."""

    __slots__ = ("_task", "connection", "id", "options", "parent", "run_at")

    def __init__(
        self,
        task: Task[P, R],
        id: str | None,  # noqa: A002 - the field's name everywhere
        parent: str,
        run_at: int,
        options: TaskOptions,
        *,
        connection: Any = None,
    ) -> None:
        """Keep the options; users call `Task.options`."""
        self._task = task
        self.id = id
        self.parent = parent
        self.run_at = run_at
        self.options = options
        self.connection = connection

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """As `Task.enqueue`, with these options."""
        task = self._task
        return task._create([task._new(self, args, kwargs)], self.connection)[0]  # noqa: SLF001 - one module

    def enqueue_many(
        self,
        calls: Iterable[Sequence[Any] | Mapping[str, Any]],
        *,
        chunk: int = DEFAULT_CHUNK,
        progress: Callable[[int], object] | None = None,
    ) -> list[TaskHandle[R]]:
        """As `Task.enqueue_many`, with these options; an ``id`` would name them all alike."""
        if self.id is not None:
            raise InvalidArgument("id", self.id, "names one task; leave it out of enqueue_many")
        if chunk < 1:
            raise InvalidArgument("chunk", chunk, "must be an int >= 1")
        task = self._task
        handles: list[TaskHandle[R]] = []
        for part in _chunks(calls, chunk):
            handles += task._create(  # noqa: SLF001
                [self._one(call) for call in part], self.connection
            )
            if progress is not None:
                progress(len(handles))
        return handles

    def _one(self, call: Sequence[Any] | Mapping[str, Any]) -> NewTask:
        if isinstance(call, Mapping):
            return self._task._new(self, (), call)  # noqa: SLF001
        if isinstance(call, str | bytes) or not isinstance(call, Sequence):
            raise InvalidArgument(
                "calls", call, "each must be a sequence of arguments (a tuple) or a mapping"
            )
        return self._task._new(self, call, {})  # noqa: SLF001


def _chunks(
    calls: Iterable[Sequence[Any] | Mapping[str, Any]], size: int
) -> Iterator[list[Sequence[Any] | Mapping[str, Any]]]:
    iterator = iter(calls)
    while part := list(islice(iterator, size)):
        yield part
