"""Telling executors to give up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mqtasks.worker.held import Cancel, Held, Phase

_CERTAIN: Final = frozenset({Cancel.REASSIGNED, Cancel.TIMEOUT, Cancel.DEADLINE, Cancel.CANCELED})


class Canceller:
    """Sets the cancellation that `TaskContext` shows. The first reason stands.

    But for a lapsed lease: it may be renewed, and a task that goes on all the same is then held to
    its time and to the next cancellation as any other.
    """

    def __init__(
        self, throw: Callable[[Held], None], insist: Callable[[Held], None] = lambda _: None
    ) -> None:
        """``throw(held)`` raises CancelledError in the coroutine of an async task.

        ``insist(held)`` takes each cancelled task, and sees to its end.
        """
        self._throw = throw
        self._insist = insist

    def cancel(self, held: Held, reason: str) -> bool:
        """Cancel one task; return False if it had been cancelled, or has ended, already."""
        if held.phase is Phase.ENDED:
            return False
        if held.completion is not None and reason == Cancel.REASSIGNED:
            return False  # it has completed itself, and that is why storage lists it no more
        if held.cancel_reason:
            if held.cancel_reason == Cancel.LEASE and reason in _CERTAIN:
                held.cancel_reason = reason
                self._insist(held)  # what was feared is known, or another cause has come
            return False
        held.cancel_reason = reason  # before the event is looked up, see wait_cancelled
        event = held.cancel_event
        if event is not None:
            event.set()
        if held.executor.is_async:
            self._throw(held)
        self._insist(held)
        return True
