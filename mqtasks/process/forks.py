"""Signals in forked copies of a process: they take them as the system means, not as we do.

A task may fork, as `multiprocessing` does by default on Linux up to Python 3.13. A copy that kept
our handlers could not be terminated, and would ring at its parent's for a signal that was its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Any, Final

_handlers: Final[dict[int, Any]] = {}
_wakeup_fds: Final[set[int]] = set()


def handle_here(number: int, handler: Any) -> Any:
    """Handle a signal in this process, and not in its forked copies; return what did before.

    Main thread only, as `signal.signal`.
    """
    previous = signal.signal(number, handler)
    _handlers[number] = handler
    return previous


def wake_here(fd: int) -> int:
    """Have the numbers of signals written to ``fd``, here only; return the former descriptor."""
    _wakeup_fds.add(fd)
    return signal.set_wakeup_fd(fd, warn_on_full_buffer=False)


class _Masked(threading.local):
    """What the thread that forks has blocked before."""

    def __init__(self) -> None:
        self.mask: set[Any] = set()


_masked: Final = _Masked()


def _before() -> None:
    """Hold back signals: one that comes to the copy at once must not find our handler."""
    _masked.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _handlers)


def _in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masked.mask)


def _in_child() -> None:
    for number, handler in _handlers.items():
        if signal.getsignal(number) == handler:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)
    _handlers.clear()
    former = signal.set_wakeup_fd(-1)
    if former not in _wakeup_fds:
        with contextlib.suppress(ValueError, OSError):  # somebody else's, who may have closed it
            signal.set_wakeup_fd(former)
    _wakeup_fds.clear()
    signal.pthread_sigmask(signal.SIG_SETMASK, _masked.mask)


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
