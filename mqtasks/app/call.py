"""`Call`: a task with options, for one or more calls of `enqueue`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Generic, ParamSpec, TypeVar

from msgspec import structs

from mqtasks.app.handle import TaskHandle
from mqtasks.app.ids import new_metadata_id
from mqtasks.app.plan import PlannedCall
from mqtasks.app.unique import unique_digest
from mqtasks.errors import InvalidArgument
from mqtasks.model import Created, FailurePolicy, NewTask, TaskMetadata, TaskOptions
from mqtasks.model.window import UniqueWindow
from mqtasks.registry import TaskDefinition
from mqtasks.service import TaskService

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_CHUNK: Final = 1000


class Call(Generic[P, R]):
    """A task with options for one or more calls; see `Task.options`. Immutable."""

    __slots__ = (
        "_definition",
        "_service",
        "after",
        "connection",
        "id",
        "on_failure",
        "options",
        "parent",
        "run_at",
        "window",
    )

    def __init__(
        self,
        definition: TaskDefinition,
        service: Callable[[], TaskService],
        options: TaskOptions,
        *,
        id: str | None = None,  # noqa: A002 - the field's name everywhere
        parent: str = "",
        run_at: int = 0,
        connection: Any = None,
        after: tuple[str, ...] = (),
        on_failure: FailurePolicy = FailurePolicy.CANCEL,
        window: UniqueWindow | None = None,
    ) -> None:
        """Keep the options; users call `Task.options`."""
        self._definition = definition
        self._service = service
        self.options: Final = options
        self.id: Final = id
        self.parent: Final = parent
        self.run_at: Final = run_at
        self.connection: Final = connection
        self.after: Final = after
        self.on_failure: Final = on_failure
        self.window: Final = window

    @property
    def code(self) -> int | str:
        """The executor code under which workers run the task."""
        return self._definition.executor

    @property
    def service(self) -> TaskService:
        """The task service in which `enqueue` creates tasks; connected if it is not."""
        return self._service()

    def s(self, *args: P.args, **kwargs: P.kwargs) -> PlannedCall[R]:
        """As `Task.s`, with these options, of which ``unique_for`` cannot be one."""
        if self.window is not None:
            raise InvalidArgument(
                "unique_for",
                self.window.seconds,
                "cannot hold in a plan, whose tasks are named by it: take options(unique_for=None)",
            )
        return PlannedCall(self, self._encode(args, kwargs))

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """As `Task.enqueue`, with these options."""
        return self._create([self._new(args, kwargs)])[0]

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """As `Task.aenqueue`, with these options, of which ``connection`` cannot be one."""
        self.check_thread()
        return await asyncio.to_thread(self.enqueue, *args, **kwargs)

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
        handles: list[TaskHandle[R]] = []
        for part in _chunks(calls, chunk):
            handles += self._create([self._one(call) for call in part])
            if progress is not None:
                progress(len(handles))
        return handles

    async def aenqueue_many(
        self,
        calls: Iterable[Sequence[Any] | Mapping[str, Any]],
        *,
        chunk: int = DEFAULT_CHUNK,
        progress: Callable[[int], object] | None = None,
    ) -> list[TaskHandle[R]]:
        """As `Task.aenqueue_many`, with these options, of which ``connection`` cannot be one."""
        self.check_thread()
        return await asyncio.to_thread(self.enqueue_many, calls, chunk=chunk, progress=progress)

    def _one(self, call: Sequence[Any] | Mapping[str, Any]) -> NewTask:
        if isinstance(call, Mapping):
            return self._new((), call)
        if isinstance(call, str | bytes) or not isinstance(call, Sequence):
            raise InvalidArgument(
                "calls", call, "each must be a sequence of arguments (a tuple) or a mapping"
            )
        return self._new(call, {})

    def _new(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> NewTask:
        task = self.new_task(self.id or new_metadata_id(), self._encode(args, kwargs))
        window = self.window
        if window is None:
            return task
        digest = unique_digest(window, self.code, self._definition.signature, args, kwargs)
        return structs.replace(task, unique_key=digest, unique_ms=window.milliseconds)

    def new_task(self, name: str, context: bytes, after: tuple[str, ...] = ()) -> NewTask:
        """Return the row to create: after the tasks given here and those of the options."""
        metadata = TaskMetadata(name, self._definition.executor, context, self.options)
        both = (*after, *self.after) if after else self.after
        return NewTask(metadata, self.parent, self.run_at, both, self.on_failure)

    def _encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        definition = self._definition
        return definition.codec.encode_call(args, kwargs, definition.signature)

    def same_call(self, context: bytes, stored: bytes) -> bool:
        """Return whether two contexts hold equal arguments, however they are encrypted."""
        decode = self._definition.codec.decode_call
        return context == stored or decode(context) == decode(stored)

    def _create(self, tasks: Sequence[NewTask]) -> list[TaskHandle[R]]:
        service = self._service()
        if self.connection is None:
            created = service.create_tasks(tasks)
        else:
            created = service.create_tasks_in(self.connection, tasks)
        return [
            self.handle(task.metadata.id, made) for task, made in zip(tasks, created, strict=True)
        ]

    def handle(self, name: str, made: Created) -> TaskHandle[R]:
        """Return the handle of a task that was created of this call."""
        name = made.metadata_id or name
        return TaskHandle(self._service, made.task_id, name, self._decode, is_new=made.is_new)

    def _decode(self, value: bytes) -> R:
        definition = self._definition
        wanted: Any = definition.signature.return_type if definition.signature else Any
        result: R = definition.codec.decode_result(value, wanted)
        return result

    def check_thread(self) -> None:
        """Raise InvalidArgument if a connection binds the call to its thread."""
        if self.connection is not None:
            raise InvalidArgument(
                "connection", self.connection, "stays in its own thread: use enqueue"
            )


def _chunks(
    calls: Iterable[Sequence[Any] | Mapping[str, Any]], size: int
) -> Iterator[list[Sequence[Any] | Mapping[str, Any]]]:
    iterator = iter(calls)
    while part := list(islice(iterator, size)):
        yield part
