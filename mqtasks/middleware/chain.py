"""The chain itself: callables ``(call_next, context)`` around a call, the first one outermost.

Each answers with the result of the call; it may change context and result, call on more than once,
or not at all. What it or the call raises goes to the caller: nothing is swallowed. Around a
coroutine function they are coroutine functions too (``await call_next(context)``), or plain ones
that hand the awaitable of ``call_next`` on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias, TypeVar

from mqtasks.errors import ConfigError
from mqtasks.payload import is_async

C = TypeVar("C")
CallNext: TypeAlias = Callable[[C], Any]
Layer: TypeAlias = Callable[[CallNext[C], C], Any]


def compose(layers: Iterable[Layer[C]], call: CallNext[C]) -> CallNext[C]:
    """Return a callable of one context that runs ``call`` inside ``layers``.

    Compose once and call often: without layers the answer is ``call`` itself. Raises ConfigError
    for a coroutine function around a plain ``call``, which could not wait for it.
    """
    listed = tuple(layers)
    if not is_async(call):
        for layer in listed:
            if is_async(layer):
                name = getattr(layer, "__qualname__", repr(layer))
                raise ConfigError(
                    f"middleware {name} is async, the call it surrounds is not: make it a plain"
                    " function, or the executor an `async def`"
                )
    for layer in reversed(listed):
        call = partial(layer, call)
    return call
