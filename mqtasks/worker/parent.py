"""A runner process and its parent: stop signals, and the parent's end (P14)."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from types import FrameType
from typing import Final

from mqtasks.process.forks import handle_here

_PR_SET_PDEATHSIG: Final = 1
_POLL: Final = 0.1


def die_with_parent(pid: int) -> None:
    """Let the kernel kill this process when its parent ``pid`` dies, whatever it executes then.

    Nobody would renew its lease any more, and user code that holds the interpreter could not be
    told. Linux only; elsewhere the end of the parent's pipe has to do. The kernel watches the
    *thread* that started this process, which must live as long as the parent does.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != pid:  # it was quicker
            os._exit(1)


def wait_for_end(pid: int) -> None:
    """Return when this process's parent ``pid`` has ended.

    Its end of a pipe tells it sooner, but not if programs that it started hold the pipe open.
    """
    if os.getppid() == pid and hasattr(os, "pidfd_open"):
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            pass  # an old kernel, or gone just now
        else:
            select.select([fd], [], [])
            os.close(fd)
    while os.getppid() == pid:
        threading.Event().wait(_POLL)


def ignore_stop_signals() -> None:
    """Leave TERM and INT to the parent, which says through the pipe when to stop.

    Terminals and service managers send them to the whole group. A handler rather than SIG_IGN,
    which programs started by user code would inherit. Main thread only.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        handle_here(number, _nothing)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    pass
