"""The functions that run tasks, by executor code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from mqtasks.errors import ConfigError, InvalidArgument
from mqtasks.middleware import Middleware
from mqtasks.model import AsyncTask, executor_code
from mqtasks.payload import PayloadCodec, is_async
from mqtasks.retry import DEFAULT_POLICY, RetryPolicy
from mqtasks.worker.isolation.call import IsolatedCall

if TYPE_CHECKING:
    from mqtasks.worker.context import TaskContext

TaskExecutor: TypeAlias = "Callable[[TaskContext, AsyncTask], Any]"
"""Runs one task: returns the value of its result, or raises to fail. Plain or ``async def``.

It may be interrupted at any time by a cancellation (`TaskContext.cancelled`) and may run again
after a crash: `AsyncTask.epoch` is 1 only the first time.
"""


class Executor(msgspec.Struct, frozen=True, eq=False):
    """One registered function. ``is_async``: calling it gives an awaitable."""

    code: str
    """Stored form, see `mqtasks.model.executor_code`."""
    call: TaskExecutor
    is_async: bool
    codec: PayloadCodec | None = None
    """Writes and reads results of its steps; None: the runner's."""
    retry: RetryPolicy = DEFAULT_POLICY
    """Judges its failures."""
    isolated: IsolatedCall | None = None
    """Set if it runs in a process of its own; then it is the same as ``call``."""
    listeners: tuple[Middleware, ...] = ()
    """Told of its failures."""


class Executors:
    """A runner's executors. The first registration of a code wins, as in the reference."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_code: dict[int | str, Executor] = {}
        self._codes: list[str] = []
        self._closed = False

    def register(
        self,
        code: int | str,
        call: TaskExecutor,
        codec: PayloadCodec | None = None,
        retry: RetryPolicy = DEFAULT_POLICY,
        listeners: tuple[Middleware, ...] = (),
    ) -> bool:
        """Register a function; return False, and change nothing, if the code has one.

        Raises ConfigError once `close` was called, and InvalidArgument for a bad code or a
        ``call`` that is not callable.
        """
        stored = executor_code(code)
        if not callable(call):
            raise InvalidArgument(f"executor of {code!r}", call, "must be callable")
        with self._lock:
            if code in self._by_code:
                return False
            if self._closed:
                raise ConfigError(
                    f"executor {code!r} comes too late: the runner has started and has told the"
                    " scheduler which executors it has; register executors before start()"
                )
            isolated = call if isinstance(call, IsolatedCall) else None
            self._by_code[code] = Executor(
                stored, call, is_async(call), codec, retry, isolated, listeners
            )
            self._codes.append(stored)
            return True

    def close(self) -> tuple[str, ...]:
        """Accept no further code; return the stored forms of those registered, sorted."""
        with self._lock:
            self._closed = True
            return tuple(sorted(self._codes))

    def reopen(self) -> None:
        """Accept registrations again: the runner has stopped."""
        with self._lock:
            self._closed = False

    @property
    def isolated(self) -> list[IsolatedCall]:
        """What stands for those that run in processes of their own."""
        return [one.isolated for one in self._by_code.values() if one.isolated is not None]

    @property
    def by_code(self) -> Mapping[int | str, Executor]:
        """Executors by code, as records carry it: int or name."""
        return self._by_code
