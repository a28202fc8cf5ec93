"""One child process, as its runner sees it: started, watched, and ended by force if need be."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from typing import Final

from mqtasks.worker.board import empty_file
from mqtasks.worker.isolation.frames import Prepare
from mqtasks.worker.isolation.wire import Bell, RunnerWire
from mqtasks.worker.spawning import spawn_module

_DUMP_TIMEOUT: Final = 0.15
"""Seconds that a process gets to write down its stacks before it is killed."""
_DUMP_POLL: Final = 0.002
_DUMP_QUIET: Final = 0.01
"""A dump that grows no more for so long is complete."""
_END_TIMEOUT: Final = 10.0

_log = logging.getLogger("mqtasks.worker")


class ChildProcess:
    """A process from its start to its end. One thread at a time works with it.

    A thread of its own starts it and waits for its end: the kernel kills the child when the thread
    that started it is gone, and that must not happen before the runner is.
    """

    def __init__(self, module: str, prepare: Prepare) -> None:
        """Start ``python -m module`` and tell it to prepare. Raises OSError, ConfigError."""
        self._module = module
        self.tasks: int = 0
        """How many it was given."""
        self.ready: bool = False
        self.idle_since: float = 0.0
        """When it was given back; monotonic seconds."""
        self.code: int = 0
        """Its exit code once it has ended, negative for a signal."""
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: Exception | None = None
        self._lock = threading.Lock()
        self._started = threading.Event()
        self._ended = threading.Event()
        with contextlib.ExitStack() as made:  # a host that is short of them gets them all back
            self.wire: Final = RunnerWire()
            made.callback(self.wire.abandon)
            self.bell: Final = Bell()
            """Wakes the thread that works with it."""
            made.callback(self.bell.close)
            self._dumps = empty_file()
            made.callback(os.close, self._dumps)
            self._orders = empty_file()
            made.callback(os.close, self._orders)
            self._start()
            made.pop_all()
        self.wire.send(prepare)

    def _start(self) -> None:
        thread = threading.Thread(target=self._guard, name="mqtasks-isolated", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise OSError(str(error)) from error  # the system has no thread to give
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    @property
    def pid(self) -> int:
        """Its process id; it may have ended."""
        return self._process.pid if self._process is not None else 0

    @property
    def alive(self) -> bool:
        """Whether its end has not been noticed yet."""
        return not self._ended.is_set()

    def _guard(self) -> None:
        wire, theirs = self.wire, self.wire.theirs
        try:
            with theirs:
                fds = [theirs.fileno(), self._dumps, self._orders]
                # A session of its own: the terminal's signals go to the runner alone.
                self._process = spawn_module(self._module, fds, detached=True)
        except Exception as error:  # noqa: BLE001 - raised by the constructor
            self._failure = error
            self._ended.set()
            self._started.set()
            return
        self._started.set()
        process = self._process
        _wait_unreaped(process)
        with self._lock:
            self.code = process.wait()
            self._ended.set()
        wire.shut()  # what it has forked may hold its end open

    # -- by force --------------------------------------------------------------------------------

    def terminate(self, reason: str) -> None:
        """Let the task that runs be broken off by an exception, at its next line of Python."""
        os.pwrite(self._orders, reason.encode(), 0)  # else it takes the signal for somebody else's
        self._signal(signal.SIGTERM)

    def kill(self, *, dump: bool = True) -> None:
        """End it, and what it has started; with ``dump`` it writes its stacks down first.

        Takes up to 0.15 s for that, and waits for the end.
        """
        if dump:
            before = self._dumped()
            self._signal(signal.SIGUSR1)
            self._wait_for_dump(before)
        self._signal(signal.SIGKILL)
        if not self._ended.wait(_END_TIMEOUT):
            _log.error("process %d of an isolated task does not end by SIGKILL", self.pid)

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for its end; return whether it has come."""
        return self._ended.wait(timeout)

    def dumps(self) -> str:
        """Return the stacks that it has written down; empty if it has not, or could not."""
        size = self._dumped()
        return os.pread(self._dumps, size, 0).decode(errors="replace") if size else ""

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:  # it is reaped under the lock, so the number is still its own
            if not self._ended.is_set():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)

    def _dumped(self) -> int:
        return os.fstat(self._dumps).st_size

    def _wait_for_dump(self, before: int) -> None:
        now = time.monotonic()
        deadline, quiet_since, size = now + _DUMP_TIMEOUT, now, before
        while now < deadline and not self._ended.wait(_DUMP_POLL):
            now = time.monotonic()
            if self._dumped() != size:
                size, quiet_since = self._dumped(), now
            elif size > before and now - quiet_since >= _DUMP_QUIET:
                return

    # -- its end ---------------------------------------------------------------------------------

    def end(self) -> None:
        """Kill it, if it lives, and let go of it."""
        if self._process is not None and self.alive:
            self.kill(dump=False)
        self.discard()

    def discard(self) -> None:
        """Let go of it: it has ended, or does so by itself. Returns at once."""
        self.wire.shut()
        self.wire.close()
        self.bell.close()
        for fd in (self._dumps, self._orders):
            os.close(fd)


def _wait_unreaped(process: subprocess.Popen[bytes]) -> None:
    """Return when a process has ended; if not in order, kill what it has started and left behind.

    Until it is reaped its number, and that of its group, cannot be another's.
    """
    if not hasattr(os, "waitid"):
        return  # the system has no way to look without reaping
    try:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return  # this program ignores SIGCHLD, so that nobody is left to be looked at
    if ended is not None and (ended.si_code, ended.si_status) != (os.CLD_EXITED, 0):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
