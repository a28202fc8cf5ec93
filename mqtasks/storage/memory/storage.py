"""The memory storage put together from its operation groups."""

from __future__ import annotations

import uuid

from mqtasks.clock import Clock, SystemClock
from mqtasks.storage.contract import Capabilities, TaskStorage
from mqtasks.storage.memory.base import Transaction
from mqtasks.storage.memory.children import MemoryChildren
from mqtasks.storage.memory.deadlines import MemoryDeadlines
from mqtasks.storage.memory.dependencies import MemoryDependencies
from mqtasks.storage.memory.firings import MemoryFirings
from mqtasks.storage.memory.leases import MemoryLeases
from mqtasks.storage.memory.pauses import MemoryPauses
from mqtasks.storage.memory.queue import MemoryQueue
from mqtasks.storage.memory.runners import MemoryRunners
from mqtasks.storage.memory.steps import MemorySteps
from mqtasks.storage.memory.tables import Tables
from mqtasks.storage.memory.windows import MemoryWindows
from mqtasks.storage.memory.work import MemoryWork


class MemoryTaskStorage(
    MemoryFirings,
    MemoryQueue,
    MemoryWork,
    MemoryRunners,
    MemoryLeases,
    MemoryPauses,
    MemorySteps,
    MemoryDependencies,
    MemoryChildren,
    MemoryDeadlines,
    MemoryWindows,
    TaskStorage,
):
    """Tasks in the memory of one process; gone with it. Safe to use from many threads.

    Args:
        clock: Gives the times of all records; None = the host's clock.
    """

    capabilities = Capabilities(
        name="memory",
        cross_process=False,
        concurrent_writers=False,
        change_counter=False,
        host_clock=True,
    )

    def __init__(self, clock: Clock | None = None) -> None:
        self._tables = Tables()
        self._clock = clock or SystemClock()
        self._transaction = Transaction(self._clock)
        self._identity = f"memory-{uuid.uuid4().hex}"

    def close(self) -> None:
        """Refuse further calls with StorageUnavailable. Idempotent."""
        self._transaction.close()

    def now_ms(self) -> int:
        """Return the clock's wall time, unix milliseconds UTC."""
        with self._transaction as now:
            return now

    def server_identity(self) -> str:
        """Return text that is unique to this object."""
        with self._transaction:
            return self._identity

    def check_schema(self) -> None:
        """Do nothing: there is no schema."""
        with self._transaction:
            return
