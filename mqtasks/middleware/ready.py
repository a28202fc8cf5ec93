"""Middlewares from functions: a context manager around executions, a callback for failures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from mqtasks.middleware.base import ExecutionContext, Failure, Middleware
from mqtasks.middleware.chain import CallNext


def around(manager: Callable[[ExecutionContext], AbstractContextManager[Any]]) -> Middleware:
    """Return a middleware that executes tasks, plain and ``async def``, ``with manager(context)``.

    A function under `contextlib.contextmanager` will do: what stands before its ``yield`` happens
    before, the rest after the executor; an exception of the executor comes out of the ``yield``. It
    may be replaced by another, but not be swallowed: it is raised again. Around an ``async def``
    executor it runs in the event loop, and must not block.
    """
    return _Around(manager)


def on_error(callback: Callable[[Failure], object]) -> Middleware:
    """Return a middleware that calls ``callback(failure)`` for each failed attempt.

    See `Failure` and `Middleware.failed`: what the callback raises is logged and changes nothing.
    """
    return _OnError(callback)


class _Around(Middleware):
    def __init__(self, manager: Callable[[ExecutionContext], AbstractContextManager[Any]]) -> None:
        self._manager: Final = manager

    def execute(self, call_next: CallNext[ExecutionContext], context: ExecutionContext) -> Any:
        value, error = None, None
        with self._manager(context):
            try:
                value = call_next(context)
            except BaseException as raised:
                error = raised
                raise
        if error is not None:
            raise error
        return value

    async def aexecute(
        self, call_next: CallNext[ExecutionContext], context: ExecutionContext
    ) -> Any:
        value, error = None, None
        with self._manager(context):
            try:
                value = await call_next(context)
            except BaseException as raised:
                error = raised
                raise
        if error is not None:
            raise error
        return value


class _OnError(Middleware):
    def __init__(self, callback: Callable[[Failure], object]) -> None:
        self._callback: Final = callback

    def failed(self, failure: Failure) -> None:
        self._callback(failure)
