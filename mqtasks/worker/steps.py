"""Steps of an execution: what was done before is looked up, what is new is stored at once."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, get_type_hints

from mqtasks.errors import (
    InvalidArgument,
    InvalidTask,
    MQTasksError,
    PayloadTooLarge,
)
from mqtasks.model import StepRecord, checked_id
from mqtasks.payload import PayloadCodec, is_async
from mqtasks.process.interrupt import shield
from mqtasks.registry import DEFAULT_CODEC
from mqtasks.storage.contract import TaskStorage
from mqtasks.worker.cancel import Canceller
from mqtasks.worker.held import Cancel, Held
from mqtasks.worker.patience import patiently, patiently_async

if TYPE_CHECKING:
    from mqtasks.worker.context import TaskContext


class StepStore(Protocol):
    """Where the steps of a runner's executions are kept."""

    codec: PayloadCodec
    """Writes results of executors that bring no codec of their own."""
    max_bytes: int

    def load(self, held: Held) -> Sequence[StepRecord]:
        """Return what earlier executions have stored."""
        ...

    def save(self, held: Held, step: StepRecord) -> StepRecord:
        """Store a step and return it as stored; raises InvalidTask if the task is lost."""
        ...


class StoredSteps:
    """A `StepStore` over storage."""

    def __init__(
        self, runner_id: str, storage: TaskStorage, canceller: Canceller, max_bytes: int
    ) -> None:
        self._runner_id = runner_id
        self._storage = storage
        self._canceller = canceller
        self.max_bytes = max_bytes
        self.codec = DEFAULT_CODEC

    def load(self, held: Held) -> Sequence[StepRecord]:
        """Return what earlier executions have stored; the first one need not ask."""
        return self._storage.steps(held.task_id) if held.epoch > 1 else ()

    def save(self, held: Held, step: StepRecord) -> StepRecord:
        """Store a step; a task that is not this runner's any more is cancelled by it."""
        saved = self._storage.save_step(self._runner_id, held.key, step)
        if saved is None:
            self._canceller.cancel(held, Cancel.REASSIGNED)
            why = f"step {step.name!r} was not stored: not owned any more"
            raise InvalidTask(held.task_id, self._runner_id, held.epoch, why)
        return saved


class StepBook:
    """The steps of one execution; see `TaskContext.step`. Safe from many threads."""

    def __init__(self, context: TaskContext, held: Held, store: StepStore) -> None:
        self._context = context
        self._held = held
        self._store = store
        self._codec = held.executor.codec or store.codec
        self._lock = threading.Lock()
        self._stored: dict[str, StepRecord] | None = None
        self._used: set[str] = set()

    def all(self) -> tuple[StepRecord, ...]:
        """Return all that is stored, by number."""
        with shield, self._lock:
            stored = list(self._loaded().values())
        return tuple(sorted(stored, key=lambda step: step.number))

    def run(
        self,
        name: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Return the stored result of a step, or run it in this thread and store its result."""
        if is_async(function):
            raise MQTasksError(f"step {name!r} is a coroutine function: use `await ctx.astep(...)`")
        self._claim(name)
        try:
            stored = patiently(self._context, lambda: self._find(name))
            if stored is None:
                value = _plain(name, function(*args, **kwargs))
                data = self._encode(name, value)
                result = self._decode(function, data)  # what cannot be read is not stored
                patiently(self._context, lambda: self._save(name, data))
                return result
        except BaseException:
            self._used.discard(name)
            raise
        return self._decode(function, stored.value)

    async def run_async(
        self,
        name: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """As `run`, without blocking the event loop; a plain function runs on a thread."""
        self._claim(name)
        try:
            stored = await patiently_async(lambda: self._find(name))
            if stored is None:
                if is_async(function):
                    value = function(*args, **kwargs)
                else:
                    value = await asyncio.to_thread(function, *args, **kwargs)
                if inspect.isawaitable(value):
                    value = await value
                data = self._encode(name, value)
                result = self._decode(function, data)
                await patiently_async(lambda: self._save(name, data))
                return result
        except BaseException:
            self._used.discard(name)
            raise
        return self._decode(function, stored.value)

    # -- names and rows --------------------------------------------------------------------------

    def _claim(self, name: str) -> None:
        checked_id("step name", name)
        self._context.check()
        with shield, self._lock:
            if name in self._used:
                raise InvalidArgument(
                    "step name",
                    name,
                    "was used in this execution already; number steps that repeat, as in"
                    ' f"page-{n}"',
                )
            self._used.add(name)

    def _loaded(self) -> dict[str, StepRecord]:
        if self._stored is None:
            self._stored = {step.name: step for step in self._store.load(self._held)}
        return self._stored

    def _find(self, name: str) -> StepRecord | None:
        with shield, self._lock:
            return self._loaded().get(name)

    def _save(self, name: str, data: bytes) -> None:
        with shield, self._lock:
            stored = self._loaded()
            last = max((step.number for step in stored.values()), default=0)
            step = StepRecord(name, last + 1, self._held.epoch, 0, data)
            stored[name] = self._store.save(self._held, step)

    # -- values ----------------------------------------------------------------------------------

    def _encode(self, name: str, value: Any) -> bytes:
        data = self._codec.encode_result(value)
        if len(data) > self._store.max_bytes:
            raise PayloadTooLarge(f"the result of step {name!r}", len(data), self._store.max_bytes)
        return data

    def _decode(self, function: Callable[..., Any], data: bytes) -> Any:
        return self._codec.decode_result(data, _return_type(function))


def _plain(name: str, value: Any) -> Any:
    if inspect.iscoroutine(value):
        value.close()
        raise MQTasksError(f"step {name!r} returned a coroutine: use `await ctx.astep(...)`")
    return value


def _return_type(function: Callable[..., Any]) -> Any:
    """Return what a function is annotated to return; Any if nobody knows."""
    try:
        return get_type_hints(function).get("return", Any)
    except Exception:  # noqa: BLE001 - annotations may name anything, and callables have none
        return Any
