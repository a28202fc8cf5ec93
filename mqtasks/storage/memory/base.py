"""What every group of the memory storage stands on: one lock, one clock, one set of tables."""

from __future__ import annotations

import threading
from types import TracebackType

from mqtasks.clock import Clock
from mqtasks.errors import NotLeader, StorageUnavailable
from mqtasks.model import Leadership
from mqtasks.process.interrupt import shield
from mqtasks.storage.memory.tables import Tables


class Transaction:
    """The one lock: entering it gives the time at which everything inside happens.

    Operations check their arguments before they write, so nothing is ever half done.
    """

    __slots__ = ("_clock", "_lock", "closed")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.closed = False

    def __enter__(self) -> int:
        shield.__enter__()  # nothing is left half done by an executor that is aborted here
        self._lock.acquire()
        try:
            if self.closed:
                why = "this memory storage was closed; make a new one"
                raise StorageUnavailable(why)  # noqa: TRY301 - the lock is released below
            return self._clock.now_ms()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()
        shield.__exit__()

    def close(self) -> None:
        """Refuse whatever comes after the operation that runs now."""
        with self._lock:
            self.closed = True


class MemoryBase:
    """Lock and tables, shared by the operation groups."""

    _tables: Tables
    _transaction: Transaction

    def _demand_leadership(self, leadership: Leadership | None, now: int) -> None:
        if leadership is not None and not self._tables.leads(leadership, now):
            raise NotLeader(leadership.holder, leadership.term)
