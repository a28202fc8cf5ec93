"""How much memory a child may have, and has."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_STATM: Final = Path("/proc/self/statm")
_DATA_FIELD: Final = 5
_OOM_SCORE: Final = Path("/proc/self/oom_score_adj")


@contextlib.contextmanager
def limited(limit: int) -> Iterator[None]:
    """Let allocations fail, with MemoryError in Python, beyond ``limit`` bytes of data; 0 = never.

    Data are private writable pages: heap, anonymous mappings, and the stacks of threads as soon as
    they are reserved. Linux only; elsewhere it does nothing.
    """
    if not limit or sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def data_bytes() -> int:
    """Return how many bytes of data this process has; 0 where the system does not tell."""
    try:
        pages = int(_STATM.read_text().split()[_DATA_FIELD])
    except (OSError, IndexError, ValueError):
        return 0
    import resource

    return pages * resource.getpagesize()


def go_first() -> None:
    """Let the system, when it runs out of memory, end this process rather than its runner."""
    with contextlib.suppress(OSError):
        _OOM_SCORE.write_text("500")
