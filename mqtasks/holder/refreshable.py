"""A storage that follows an address: when a call fails it asks again where the database is.

Used by `TaskServiceHolder` for database failover. Every write of the contract may be repeated
after an unknown outcome (P10), so the failed call is simply made once more on the new connection.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any

from mqtasks.errors import ConfigError, StorageUnavailable
from mqtasks.storage.contract import TaskStorage

logger = logging.getLogger("mqtasks.holder")


class StorageFollower:
    """Holds the storage of the current address, and replaces it when it fails.

    Safe to use from many threads; threads that fail together refresh once.
    """

    def __init__(
        self, address_factory: Callable[[], str], create: Callable[[str], TaskStorage]
    ) -> None:
        """Connect to the address that ``address_factory`` names now."""
        self._address_factory = address_factory
        self._create = create
        self._lock = threading.Lock()
        self._retired: list[TaskStorage] = []
        self._closed = False
        self.address = address_factory()
        self.current: TaskStorage = create(self.address)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call one operation of the storage; after StorageUnavailable once more, refreshed."""
        storage = self.current
        try:
            return getattr(storage, name)(*args, **kwargs)
        except StorageUnavailable as error:
            return getattr(self._refresh(storage, error), name)(*args, **kwargs)

    def _refresh(self, failed: TaskStorage, cause: StorageUnavailable) -> TaskStorage:
        with self._lock:
            if self._closed:
                raise cause
            if self.current is not failed:
                return self.current  # another thread has been here
            address = self._address_factory()
            if address == self.address:
                return failed  # the same server: its pool reconnects by itself
            try:
                storage = self._create(address)
            except ConfigError as error:
                msg = f"the new database address cannot be used: {error}"
                raise StorageUnavailable(msg) from error
            logger.warning("database address changed after: %s", cause)
            # Calls of other threads may still be under way on the old one: closed at the end.
            self._retired.append(failed)
            self.current, self.address = storage, address
            return storage

    def close(self) -> None:
        """Close the current storage and those before it. Idempotent."""
        with self._lock:
            self._closed = True
            retired, self._retired = self._retired, []
        for storage in (*retired, self.current):
            storage.close()


def refreshable_storage(follower: StorageFollower) -> TaskStorage:
    """Return a whole `TaskStorage` that passes every operation on to ``follower``."""
    storage: TaskStorage = _RefreshableTaskStorage(follower)
    return storage


def _operation(name: str) -> Callable[..., Any]:
    # updated=(): the mark that makes the original abstract must not come along.
    @functools.wraps(getattr(TaskStorage, name), updated=())
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.follower.call(name, *args, **kwargs)

    return call


def _init(self: Any, follower: StorageFollower) -> None:
    self.follower = follower


# Built from the contract itself, so that no operation can be missed when it grows.
_RefreshableTaskStorage: Any = type(
    "RefreshableTaskStorage",
    (TaskStorage,),
    {
        "__doc__": "A storage that follows the address of a `StorageFollower`.",
        "__init__": _init,
        **{name: _operation(name) for name in TaskStorage.__abstractmethods__},
        "close": lambda self: self.follower.close(),
        # On a caller's connection nothing is tried again.
        "join": lambda self, connection, *, begin=False: self.follower.current.join(
            connection, begin=begin
        ),
        "change_count": lambda self: self.follower.current.change_count(),
        "interrupt": lambda self, thread_id: self.follower.current.interrupt(thread_id),
        "capabilities": property(lambda self: self.follower.current.capabilities),
        "url": property(lambda self: self.follower.current.url),
    },
)
