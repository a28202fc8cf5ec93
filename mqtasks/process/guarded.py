"""A child program that cannot outlive its parent.

A private server must end with the process that started it, also when that process is killed and
runs no cleanup. Three nets, from polite to certain: `stop`, an exit handler, and the kernel's
parent-death signal (Linux).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

# Runs in the child before the program: ask for SIGKILL at the parent's death, then become the
# program. The parent may have died in between, hence the check. Not a preexec_fn, which may
# deadlock in a parent that has threads.
_GUARD = """\
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""

_live: weakref.WeakSet[GuardedProcess] = weakref.WeakSet()


class GuardedProcess:
    """One running program in a session of its own, its output appended to a log file.

    Args:
        argv: Absolute path of the program, then its arguments.
        log: File that gets stdout and stderr.
        detach: Let the program outlive this process: no exit handler, no death signal.

    Raises:
        OSError: the program cannot be executed.

    All methods may be called twice and from any thread.
    """

    def __init__(self, argv: Sequence[str], log: Path, *, detach: bool = False) -> None:
        self.log = log
        self._owner = os.getpid()
        self._exited = threading.Event()
        self._argv = list(argv)
        if not detach and sys.platform == "linux":
            self._argv = [sys.executable, "-ISc", _GUARD, str(self._owner), *argv]
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        started = threading.Event()
        # The death signal follows the *thread* that forked, not the process. So a thread of its
        # own forks the program and lives exactly as long as the program does.
        threading.Thread(
            target=self._run, args=(started,), name="mqtasks-guard", daemon=True
        ).start()
        started.wait()
        if self._failure is not None:
            raise self._failure
        if not detach:
            _live.add(self)

    def _run(self, started: threading.Event) -> None:
        try:
            with self.log.open("ab") as output:
                self._process = subprocess.Popen(  # noqa: S603 - the caller names the program
                    self._argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as exc:
            self._failure = exc
            return
        finally:
            started.set()
        self._process.wait()
        self._exited.set()

    @property
    def pid(self) -> int:
        """Process id of the program; it may have ended."""
        assert self._process is not None  # noqa: S101 - else __init__ raised
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the program has not ended."""
        return not self._exited.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the program to end; tell whether it did."""
        return self._exited.wait(timeout)

    def stop(self, timeout: float = 20.0) -> None:
        """End the program: SIGTERM, and SIGKILL if it has not ended after `timeout` seconds."""
        if self.owned:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # a stopped program would not act on the SIGTERM
            if not self.wait(timeout):
                self.kill()

    def kill(self) -> None:
        """End the program with SIGKILL, without any of its own cleanup."""
        if self.owned:
            self._signal(signal.SIGKILL)
            self._exited.wait()

    @property
    def owned(self) -> bool:
        """Whether this process started the program; a forked copy of the object owns nothing."""
        return os.getpid() == self._owner

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def tail(self, lines: int = 20) -> str:
        """Return the last `lines` lines of the log, for error messages."""
        with contextlib.suppress(OSError):
            text = self.log.read_text(encoding="utf-8", errors="replace")
            return "\n".join(text.splitlines()[-lines:])
        return ""


@atexit.register
def _stop_all() -> None:
    for process in list(_live):
        process.stop(timeout=5.0)
