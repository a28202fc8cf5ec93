"""What the threads of this process do at this moment."""

from __future__ import annotations

import gc
import sys
import threading
from types import FrameType
from typing import Final

_lock: Final = threading.RLock()
"""One at a time turns the collector off and on; again in a signal handler of the same thread."""


def current_frames() -> dict[int, FrameType]:
    """Return the topmost frame of each thread, by thread identifier.

    In CPython 3.11.7, for one, `sys._current_frames` may stop the whole process for ever if the
    garbage collector runs within it: it holds the lock of the list of threads then, and waits for
    the interpreter, which another thread has that waits for that list (python/cpython#106883).
    Later releases mend it as is done here.
    """
    with _lock:
        enabled = gc.isenabled()
        gc.disable()
        try:
            return sys._current_frames()  # noqa: SLF001 - documented, whatever its name
        finally:
            if enabled:
                gc.enable()
