"""How a process is told to stop: three stages, one signal each, and a stack dump on request."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterable
from enum import IntEnum
from queue import SimpleQueue
from types import FrameType
from typing import Final, Self

from mqtasks.process.forks import handle_here, wake_here
from mqtasks.process.frames import current_frames

_log = logging.getLogger("mqtasks.process")

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_RING: Final = b"\0"  # no signal has this number


class Stage(IntEnum):
    """How urgently the process was told to stop."""

    RUNNING = 0
    GRACEFUL = 1
    """Take nothing new, hand back what waits, let what runs finish in its time."""
    HURRY = 2
    """Cancel what runs, release it, and go."""
    KILL = 3
    """Go at once; what is still held is rescued by the scheduler."""


_SAYS: Final = {
    Stage.GRACEFUL: "stops; running tasks may finish. Again to cancel them",
    Stage.HURRY: "stops now; running tasks are canceled. Again to exit at once",
    Stage.KILL: "exits at once; the tasks it holds are rescued when its lease lapses",
}


class StopStages:
    """Turns the first, second and third stop signal into a call of one of three callbacks.

    Each callback runs once, in a thread of its own, so that a graceful stop which takes its time
    (or hangs) does not hold up the next signal. After the third stage signals are ignored.

    A thread learns of signals through Python's wakeup file descriptor, which the interpreter writes
    to at once. The handler that it calls in the main thread would not do: it is not called while
    that thread waits for a lock, if the signal came in the moment before the waiting began.

    A context manager; `install` and `restore` do the same. `advance` does what a signal does.

    Args:
        graceful: First signal.
        hurry: Second signal.
        kill: Third signal; expected not to return (``os._exit``).
        name: What stops, for the log lines.
        logger: Where they go; ``mqtasks.process`` by default.
    """

    def __init__(
        self,
        graceful: Callable[[], object],
        hurry: Callable[[], object],
        kill: Callable[[], object],
        *,
        name: str = "worker",
        logger: logging.Logger | None = None,
    ) -> None:
        self._callbacks = {Stage.GRACEFUL: graceful, Stage.HURRY: hurry, Stage.KILL: kill}
        self._reached = {stage: threading.Event() for stage in self._callbacks}
        self._name = name
        self._log = logger or _log
        self._inbox: SimpleQueue[str | None] = SimpleQueue()
        self._bell: socket.socket | None = None
        self._former_fd = -1
        self._stage = Stage.RUNNING
        self._numbers: set[int] = set()
        self._previous: dict[int, signal._HANDLER] = {}
        self._dispatcher: threading.Thread | None = None

    @property
    def stage(self) -> Stage:
        """The stage reached so far."""
        return self._stage

    def install(self, signals: Iterable[signal.Signals] = STOP_SIGNALS) -> None:
        """Handle ``signals``; does nothing if they are handled already.

        Raises ValueError outside the main thread, where Python takes no signal handlers.
        """
        if threading.current_thread() is not threading.main_thread():
            msg = "signals can be handled in the main thread only; call install() there"
            raise ValueError(msg)
        if self._dispatcher is None:
            self._bell, ears = socket.socketpair()
            self._bell.settimeout(0)
            bell = self._bell.fileno()
            self._former_fd = wake_here(bell)
            self._dispatcher = threading.Thread(
                target=self._dispatch,
                args=(ears,),
                name=f"mqtasks-{self._name}-signals",
                daemon=True,
            )
            self._dispatcher.start()
        for number in signals:
            self._numbers.add(number)
            if number not in self._previous:
                self._previous[number] = handle_here(number, self._on_signal)

    def restore(self) -> None:
        """Put the previous signal handlers back. Main thread only; may be called twice."""
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)
        if self._dispatcher is not None:
            signal.set_wakeup_fd(self._former_fd)
            self._put(None)
            self._dispatcher.join()
            self._dispatcher = None
            if self._bell is not None:
                self._bell.close()
                self._bell = None

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def advance(self, reason: str = "asked to stop") -> None:
        """Go one stage further, as a signal would. From any thread; takes effect once installed."""
        self._put(reason)

    def wait(self, stage: Stage = Stage.GRACEFUL, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds (None: for ever) for ``stage``; return if it is reached.

        The main thread handles signals meanwhile.
        """
        return stage is Stage.RUNNING or self._reached[stage].wait(timeout)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Do nothing: `_dispatch` knows already."""

    def _put(self, reason: str | None) -> None:
        self._inbox.put(reason)
        bell = self._bell
        if bell is not None:
            with contextlib.suppress(OSError):  # full, so it wakes up anyway; or just closed
                bell.send(_RING)

    def _dispatch(self, ears: socket.socket) -> None:
        with ears:
            while True:
                while not self._inbox.empty():
                    reason = self._inbox.get()
                    if reason is None:
                        return
                    self._advance(reason)
                for number in ears.recv(256):
                    if number in self._numbers:
                        self._advance(signal.Signals(number).name)

    def _advance(self, reason: str) -> None:
        if self._stage is Stage.KILL:
            return
        stage = Stage(self._stage + 1)
        self._log.warning("%s (%s) %s", self._name, reason, _SAYS[stage])
        threading.Thread(
            target=self._call, args=(stage,), name=f"mqtasks-{self._name}-stop", daemon=True
        ).start()
        self._stage = stage
        self._reached[stage].set()

    def _call(self, stage: Stage) -> None:
        try:
            self._callbacks[stage]()
        except Exception:  # noqa: BLE001 - logged; the process must still come to its end
            self._log.exception("%s: stop stage %s failed", self._name, stage.name)


def dump_stacks_on_signal() -> bool:
    """Make SIGUSR1 print the stack of every thread to stderr, as soon as Python code may run.

    Returns False where the system has no such signal. May be called twice. Main thread only.
    """
    if not hasattr(signal, "SIGUSR1"):
        return False
    # Not faulthandler: it reads the frames of threads that go on running, and crashes the process.
    signal.signal(signal.SIGUSR1, _dump_stacks)
    return True


def _dump_stacks(_number: int, _frame: FrameType | None) -> None:
    # Not threading.enumerate(): the interrupted code may hold its lock, too.
    names = {i: thread.name for i, thread in list(getattr(threading, "_active", {}).items())}
    parts = []
    for ident, frame in current_frames().items():
        parts.append(f"Thread 0x{ident:x} ({names.get(ident, 'unknown')}):\n")
        parts += traceback.format_stack(frame)
    # Past sys.stderr, whose lock the interrupted code may hold.
    with contextlib.suppress(OSError):
        os.write(2, "".join([*parts, "\n"]).encode(errors="replace"))
