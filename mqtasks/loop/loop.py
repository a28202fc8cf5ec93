"""A thread that runs one step again and again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final, TypeAlias

from mqtasks.clock import Clock, SystemClock
from mqtasks.debug import framework_disabled
from mqtasks.loop.outage import OutageLog
from mqtasks.loop.wake import Waitable, Wake

FIRST_RETRY: Final = 0.05
"""Seconds until a step that failed for the first time runs again; doubles from there."""
_DISABLED_WAIT: Final = 1.0
_MOST_DOUBLINGS: Final = 30

Step: TypeAlias = Callable[[], float | None]
Observer: TypeAlias = "Callable[[Loop, Exception | None], None]"

_log = logging.getLogger("mqtasks.loop")


class _Run:
    """One start of a loop, until its stop. A later start makes another."""

    def __init__(self, wake: Waitable, predecessor: threading.Thread | None) -> None:
        self.wake = wake
        self.stopping = False
        self.stopped = Wake()
        self.predecessor = predecessor
        self.thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def request_stop(self) -> None:
        self.stopping = True
        self.stopped.set()
        self.wake.set()


class Loop:
    """Runs ``step`` again and again in a thread of its own.

    Args:
        name: Names the thread and the log lines.
        step: The unit of work. It returns None to run again one ``interval`` after it began, or
            the seconds to wait from its end; 0 = again at once.
        interval: Seconds from one begin to the next, > 0. A step that takes longer runs again at
            once.
        clock: Measures how long a step took.
        wake: Signal that cuts the waiting short; by default a new `Wake`. A signal during a step
            makes it run once more right after.
        retry_interval: Longest wait after failures, in seconds: a step that raises runs again
            after 0.05 s, then after twice as long each time, up to this. Wakes do not shorten it.
        observer: Called after each step with the loop and the step's exception or None.
        logger: Where outages are told, see `OutageLog`; ``mqtasks.loop`` by default.

    All methods may be called from any thread, in any order, any number of times. While the
    framework is disabled (`mqtasks.debug`) no step runs.
    """

    def __init__(
        self,
        name: str,
        step: Step,
        interval: float,
        *,
        clock: Clock | None = None,
        wake: Waitable | None = None,
        retry_interval: float = 1.0,
        observer: Observer | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self.name = name
        self.interval = interval
        self.steps = 0
        """How many steps have run, failed ones included."""
        self.failures = 0
        """How many of them raised."""
        self._step = step
        self._clock = clock or SystemClock()
        self._wake = wake or Wake()
        self._retry_interval = retry_interval
        self._observer = observer
        self._log = logger or _log
        self._outage = OutageLog(name, self._log)
        self._lock = threading.Lock()
        self._run: _Run | None = None

    @property
    def consecutive_failures(self) -> int:
        """How many steps have raised since the last one that did not."""
        return self._outage.failures

    @property
    def running(self) -> bool:
        """Whether it was started and not told to stop since."""
        run = self._run
        return run is not None and not run.stopping and run.alive

    def start(self) -> None:
        """Start; does nothing while it runs. Never blocks.

        Started again while an earlier run still ends, it waits for that one in its new thread, so
        that steps never overlap.
        """
        with self._lock:
            last = self._run
            if last is not None and last.alive and not last.stopping:
                return
            run = _Run(self._wake, last.thread if last is not None else None)
            run.thread = threading.Thread(
                target=self._main, args=(run,), name=f"mqtasks-{self.name}", daemon=True
            )
            run.thread.start()
            self._run = run

    def wake(self) -> None:
        """Run a step now, or once more right after the present one. Safe in signal handlers."""
        self._wake.set()

    def request_stop(self) -> None:
        """Let no further step begin, and return at once. Safe in signal handlers."""
        run = self._run
        if run is not None:
            run.request_stop()

    def stop(self, timeout: float | None = None) -> bool:
        """Let no further step begin and wait for the present one, up to ``timeout`` seconds.

        Returns whether the thread has ended; None waits as long as it takes. Called from within
        the step it cannot wait, and returns False.
        """
        with self._lock:
            run = self._run
        if run is None or run.thread is None:
            return True
        run.request_stop()
        if run.thread is threading.current_thread():
            return False
        run.thread.join(timeout)
        return not run.thread.is_alive()

    def _main(self, run: _Run) -> None:
        if run.predecessor is not None:
            run.predecessor.join()
            run.predecessor = None
        run.wake.wait(0)  # whatever woke us before the first step is served by it
        while not run.stopping:
            if framework_disabled():
                run.wake.wait(min(self.interval, _DISABLED_WAIT))
                continue
            began = self._clock.monotonic()
            try:
                delay = self._step()
            except Exception as error:  # noqa: BLE001 - a loop outlives whatever its step meets
                retry_in = self._failed(error)
                self._observed(error)
                run.stopped.wait(retry_in)
                continue
            self._succeeded()
            self._observed(None)
            if delay is None:
                delay = self.interval - (self._clock.monotonic() - began)
            if delay > 0:
                run.wake.wait(delay)
            else:
                run.wake.wait(0)  # the step that now follows serves it

    def _succeeded(self) -> None:
        self.steps += 1
        if self._outage.failures:
            self._outage.succeeded(self._clock.monotonic())

    def _failed(self, error: Exception) -> float:
        """Count and log a failure; return the seconds to wait."""
        self.steps += 1
        self.failures += 1
        doublings = min(self._outage.failures, _MOST_DOUBLINGS)
        delay = min(FIRST_RETRY * 2.0**doublings, self._retry_interval)
        self._outage.failed(error, self._clock.monotonic(), delay)
        return delay

    def _observed(self, error: Exception | None) -> None:
        if self._observer is None:
            return
        try:
            self._observer(self, error)
        except Exception:  # noqa: BLE001 - a broken observer must not stop the loop
            self._log.exception("the observer of %s failed", self.name)
