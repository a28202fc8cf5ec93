"""Raising an exception in another thread, but never in work that it was not meant for.

CPython can set an exception that a thread finds at its next bytecode. Two things make that safe
here. A thread says whose work it does (`Guard.enter`, `Guard.leave`), and whoever wants to raise
takes part in a handshake: the thread writes ``owner`` and then reads ``busy``, the other writes
``busy`` and then reads ``owner``, so that at least one of them sees the other. And code that must
not stop half-way, such as a statement on a pooled connection, is wrapped in `shield`, at
whose end comes what was raised meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

_raising: Final = threading.Lock()
"""One at a time raises; a guard's thread never takes this lock."""


class Guard:
    """What one thread works on. ``enter``, ``leave`` and `shield` are for that thread alone.

    ``leave`` may be called twice, and has to be if the exception came while it ran.
    """

    __slots__ = ("busy", "depth", "ident", "later", "owner", "raised")

    def __init__(self) -> None:
        """Guard the current thread; see `guard_of_thread`."""
        self.ident: Final = threading.get_ident()
        self.owner: object | None = None
        self.depth = 0
        self.busy = False
        self.raised = False
        self.later: type[BaseException] | None = None

    def enter(self, owner: object) -> None:
        """Say that what follows is work for ``owner``, and may be interrupted."""
        self.owner = owner

    def leave(self) -> None:
        """Say that this work is over; what was raised for it, and has not come yet, never will."""
        self.owner = None
        self.settle()
        if self.raised:
            set_exception(self.ident, None)
            self.raised = False
            self.later = None

    def strike(self, owner: object, kind: type[BaseException]) -> bool:
        """Raise ``kind()`` in the thread if it works for ``owner``; return whether that was done.

        Once only for each `enter`; where the thread is shielded, as soon as it is no more. From any
        other thread.
        """
        with _raising:
            self.busy = True
            try:
                if self.owner is not owner or self.raised:
                    return False
                if self.depth:
                    # Threads let each other run while they wait for something, which is within
                    # shields as a rule: whoever only tried again later might never succeed.
                    self.later, self.raised = kind, True
                else:
                    self.raised = set_exception(self.ident, kind)
                return self.raised
            finally:
                self.busy = False

    def claim(self, owner: object, take: Callable[[], None]) -> bool:
        """Call ``take()`` if the thread works for ``owner``; it then has before `leave` returns.

        Returns whether it was called. From any other thread.
        """
        with _raising:
            self.busy = True
            try:
                if self.owner is not owner:
                    return False
                take()
                return True
            finally:
                self.busy = False

    def settle(self) -> None:
        """Wait until nobody is about to raise."""
        while self.busy:
            time.sleep(0)  # noqa: TID251 - for microseconds, and nothing may be locked here


class _Shield:
    """A block that no `Guard.strike` interrupts. Nests; costs little in other threads."""

    def __enter__(self) -> None:
        guard: Guard | None = getattr(_local, "guard", None)
        if guard is None:
            return
        guard.depth += 1
        try:
            guard.settle()
            if guard.raised:
                _checkpoint()  # what was raised before comes here, and the block is not entered
        except BaseException:
            guard.depth -= 1
            raise

    def __exit__(self, *_: object) -> None:
        guard: Guard | None = getattr(_local, "guard", None)
        if guard is None:
            return
        guard.depth -= 1
        if not guard.depth:
            guard.settle()
            later, guard.later = guard.later, None
            if later is not None:
                raise later


def guard_of_thread() -> Guard:
    """Return the guard of the current thread."""
    try:
        guard: Guard = _local.guard
    except AttributeError:
        guard = _local.guard = Guard()
    return guard


def set_exception(ident: int, kind: type[BaseException] | None) -> bool:
    """Let a thread find ``kind()`` at its next bytecode; None takes back what it has not found.

    Returns whether there is such a thread. Use `Guard` rather than this.
    """
    import ctypes

    argument = None if kind is None else ctypes.py_object(kind)
    found: int = ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), argument)
    return bool(found)


def _checkpoint() -> None:
    """Let the interpreter look for what was raised: it does on entry of a function."""


_local: Final = threading.local()
shield: Final = _Shield()
