"""Running async executors to their end from plain code, on event loops that are kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeAlias

from mqtasks.worker.held import Held

Execute: TypeAlias = Callable[[Held], Coroutine[Any, Any, None]]


class Coroutines:
    """Runs one async task at a time per calling thread. Safe from many threads.

    Loops are reused, so that what a task leaves on one, a connection pool say, lives on with it.
    Where a loop runs in the calling thread already, a thread is borrowed, and that loop waits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[asyncio.Runner] = []

    def run(self, execute: Execute, held: Held) -> None:
        """Run a task to its end."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._run(execute, held)
            return
        errors: list[BaseException] = []

        def apart() -> None:
            try:
                self._run(execute, held)
            except BaseException as error:  # noqa: BLE001 - raised where it was called
                errors.append(error)

        thread = threading.Thread(target=apart, name="mqtasks-testing")
        thread.start()
        thread.join()
        if errors:
            raise errors[0]

    def _run(self, execute: Execute, held: Held) -> None:
        with self._lock:
            runner = self._idle.pop() if self._idle else asyncio.Runner()
        try:
            runner.run(run_here(execute, held))
        finally:
            with self._lock:
                self._idle.append(runner)

    def close(self) -> None:
        """Cancel what tasks have left running, and close the loops."""
        with self._lock:
            runners, self._idle = self._idle, []
        for runner in runners:
            runner.close()


async def run_here(execute: Execute, held: Held) -> None:
    """Run a task to its end on the running loop, in a context of its own."""
    loop = asyncio.get_running_loop()
    coroutine = held.coroutine = loop.create_task(execute(held), context=Context())
    await asyncio.wait([coroutine])
    coroutine.result()
