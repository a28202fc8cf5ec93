"""One thread with an event loop for all async executors of a runner."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from mqtasks.worker.held import Held


class ExecutorLoop:
    """Runs async tasks. The thread starts with the first of them.

    ``execute(held)`` is the coroutine that runs one; it never raises. ``ended(held)`` is called in
    the loop's thread after each.
    """

    def __init__(
        self,
        execute: Callable[[Held], Coroutine[Any, Any, None]],
        ended: Callable[[Held], None],
    ) -> None:
        self._execute = execute
        self._ended = ended
        self._lock = threading.Lock()
        self._inbox: deque[Held] = deque()
        self._called = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def submit(self, held: Held) -> None:
        """Run a task soon. From any thread."""
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
        task, loop = held.coroutine, self._loop
        if task is not None and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    def close(self, timeout: float) -> None:
        """End the loop and its thread; what still runs is cancelled, and given up in the end."""
        with self._lock:
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout)

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._run, args=(loop,), name="mqtasks-event-loop", daemon=True
        )
        self._thread.start()
        return loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            # Whatever ignores its cancellation here would keep the process alive for nothing.
            for task in list(self._tasks):
                task.cancel()
            if self._tasks:
                loop.run_until_complete(asyncio.wait(self._tasks, timeout=1.0))
            loop.run_until_complete(loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            if not self._tasks:
                loop.close()

    def _take(self) -> None:
        self._called = False
        inbox, loop = self._inbox, asyncio.get_running_loop()
        while inbox:
            task = loop.create_task(self._one(inbox.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, held: Held) -> None:
        held.coroutine = asyncio.current_task()
        try:
            await self._execute(held)
        finally:
            held.coroutine = None
            self._ended(held)
