"""Working with storage from an executor: while it is away, again and again (P14)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from mqtasks.errors import StorageConflict, StorageUnavailable

if TYPE_CHECKING:
    from mqtasks.worker.context import TaskContext

T = TypeVar("T")

PAUSE: Final = 0.25
"""Seconds between tries while storage is away."""
_OUTAGES: Final = (StorageUnavailable, StorageConflict)


def patiently(context: TaskContext, work: Callable[[], T]) -> T:
    """Return ``work()``; repeat it through outages until the executor shall give up.

    Raises TaskInterrupted then: the lease is not trusted for ever.
    """
    while True:
        try:
            return work()
        except _OUTAGES:
            context.wait_cancelled(PAUSE)
            context.check()


async def patiently_async(work: Callable[[], T]) -> T:
    """As `patiently`, on threads; the coroutine is cancelled when it shall give up."""
    while True:
        try:
            return await asyncio.to_thread(work)
        except _OUTAGES:
            await asyncio.sleep(PAUSE)
