"""One thread with an event loop for all async executors of a runner."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final

from mqtasks.worker.held import Held, Phase

_LAST_CANCEL: Final = 1.0
"""Seconds that tasks get to react when the loop is closed under them."""


class ExecutorLoop:
    """Runs async tasks. The thread starts with the first of them.

    ``execute(held)`` is the coroutine that runs one to its end; it never raises.
    """

    def __init__(self, execute: Callable[[Held], Coroutine[Any, Any, None]]) -> None:
        self._execute = execute
        self._lock = threading.Lock()
        self._inbox: deque[Held] = deque()
        self._called = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def submit(self, held: Held) -> None:
        """Run a task soon. From any thread."""
        if threading.current_thread() is self._thread:
            self._launch(held)  # the end of one task has made room for this one
            return
        self._inbox.append(held)
        if self._called:
            return  # whoever set it has yet to be served, and takes this one along
        with self._lock:
            loop = self._loop or self._start()
            if not self._called:
                self._called = True
                loop.call_soon_threadsafe(self._take)

    def cancel(self, held: Held) -> None:
        """Throw CancelledError into a task, if it still runs. From any thread."""
        loop = self._loop
        if loop is not None and held.coroutine is not None:
            loop.call_soon_threadsafe(_throw, held)

    def close(self, timeout: float) -> None:
        """End the loop and its thread; what still runs is cancelled, and given up in the end."""
        with self._lock:
            loop, self._loop = self._loop, None
        thread = self._thread
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout)

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=_run, args=(loop,), name="mqtasks-event-loop", daemon=True
        )
        self._thread.start()
        return loop

    def _take(self) -> None:
        self._called = False
        inbox = self._inbox
        while inbox:
            self._launch(inbox.popleft())

    def _launch(self, held: Held) -> None:
        # A context of its own: what one task sets there must not leak into the next.
        loop = asyncio.get_running_loop()
        held.coroutine = loop.create_task(self._execute(held), context=Context())


def _throw(held: Held) -> None:
    # In the loop's thread, so it cannot end meanwhile. One that has not begun sees the reason.
    if held.coroutine is not None and held.phase is Phase.EXECUTING:
        held.told = held.coroutine.cancel()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        # Whatever ignored its cancellation would keep the process alive for nothing.
        rest = asyncio.all_tasks(loop)
        for task in rest:
            task.cancel()
        if rest:
            loop.run_until_complete(asyncio.wait(rest, timeout=_LAST_CANCEL))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        if not asyncio.all_tasks(loop):
            loop.close()
