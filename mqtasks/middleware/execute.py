"""Standing around executions, and telling of failures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mqtasks.errors import ConfigError
from mqtasks.middleware.base import ExecutionContext, Failure, Middleware, overrides
from mqtasks.middleware.chain import CallNext, compose
from mqtasks.payload import is_async

_log = logging.getLogger("mqtasks.middleware")


def surround(
    middlewares: Iterable[Middleware], call: CallNext[ExecutionContext], executor: int | str
) -> CallNext[ExecutionContext]:
    """Return ``call``, plain or ``async def``, inside those that stand around executions.

    ``call`` itself if none does. Raises ConfigError, naming the ``executor``, for a middleware that
    has only the method for the other kind: it would silently not be there.
    """
    wanted, other = ("aexecute", "execute") if is_async(call) else ("execute", "aexecute")
    chosen: list[Callable[..., Any]] = []
    for layer in middlewares:
        if overrides(layer, wanted):
            chosen.append(getattr(layer, wanted))
        elif overrides(layer, other):
            name = type(layer).__qualname__
            kind = "an `async def`" if wanted == "aexecute" else "a plain `def`"
            raise ConfigError(
                f"middleware {name} has {other}, but no {wanted}, and executor {executor!r} is"
                f" {kind}: define it, or write `{wanted} = Middleware.{wanted}` if it is to do"
                " nothing there"
            )
    return compose(chosen, call)


def listeners(middlewares: Iterable[Middleware]) -> tuple[Middleware, ...]:
    """Return those that want to hear of failures."""
    return tuple(layer for layer in middlewares if overrides(layer, "failed"))


def tell(middlewares: Sequence[Middleware], failure: Failure) -> None:
    """Tell each of a failure. What one raises, BaseException too, is logged."""
    for layer in middlewares:
        try:
            layer.failed(failure)
        except BaseException:  # noqa: BLE001 - an outcome must not depend on who is told of it
            name = type(layer).__qualname__
            _log.exception("%s.failed failed for task %d", name, failure.task.id)
