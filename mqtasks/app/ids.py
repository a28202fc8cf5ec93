"""Metadata ids for tasks whose producer names none."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Iterator

_counter: Iterator[int] = iter(())
_prefix = ""


def _restart() -> None:
    global _counter, _prefix  # noqa: PLW0603 - one sequence per process
    _prefix = secrets.token_hex(12)
    _counter = itertools.count(1)


_restart()
# A forked child must not go on with its parent's sequence.
os.register_at_fork(after_in_child=_restart)


def new_metadata_id() -> str:
    """Return a metadata id that no other process or call makes: 96 random bits and a count.

    Ids of one process are neighbours in the unique index. Safe to call from many threads.
    """
    return f"{_prefix}-{next(_counter):x}"
