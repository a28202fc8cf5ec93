"""One thread with an event loop for all async executors of a runner."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final

from mqtasks.worker.held import Held, Phase
from mqtasks.worker.stacks import thread_stack

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
        self._left: list[threading.Thread] = []
        self._asked = self._answered = 0
        self.blocked_at = ""
        """What the loop that was replaced last was doing."""

    @property
    def lost(self) -> int:
        """Threads of loops that were replaced and have not ended."""
        return sum(thread.is_alive() for thread in self._left)

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
        with self._lock:
            loop = held.coroutine.get_loop() if held.coroutine is not None else self._loop
            if loop is None:
                return
            self._asked += loop is self._loop
        with contextlib.suppress(RuntimeError):  # it was closed
            loop.call_soon_threadsafe(self._throw, held)

    def _throw(self, held: Held) -> None:
        self._answered += asyncio.get_running_loop() is self._loop
        throw(held)

    def replace(self) -> bool:
        """Leave a blocked loop to what it runs; whatever waits for it, and comes, gets a new one.

        Returns False if it is not blocked: it has reacted to all cancellations. When it reacts
        again, and its tasks have ended, its thread does.
        """
        with self._lock:
            loop, thread = self._loop, self._thread
            if loop is None or thread is None or self._answered >= self._asked:
                return False
            self._asked = self._answered = 0
            self.blocked_at = thread_stack(thread.ident or 0)
            self._left = [left for left in self._left if left.is_alive()]
            self._left.append(thread)
            loop.call_soon_threadsafe(_retire, loop)
            # Without a look at what waits: something may be submitted right after it.
            self._called = True
            self._start().call_soon_threadsafe(self._take)
        return True

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


def throw(held: Held) -> None:
    """Throw CancelledError into a task that executes. In the thread of its loop only."""
    # So it cannot end meanwhile. One that has not begun sees the reason.
    if held.coroutine is not None and held.phase is Phase.EXECUTING:
        held.told = held.coroutine.cancel()


def _retire(loop: asyncio.AbstractEventLoop) -> None:
    rest = asyncio.all_tasks(loop)
    if not rest:
        loop.stop()
        return
    for task in rest:
        task.add_done_callback(lambda _: asyncio.all_tasks(loop) or loop.stop())


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
