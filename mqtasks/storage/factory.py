"""From URLs and addresses to storages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

from mqtasks.clock import Clock
from mqtasks.config.mask import mask_url
from mqtasks.errors import ConfigError
from mqtasks.storage.contract import TaskStorage

_KNOWN: Final = (
    "memory://, sqlite:///tasks.db (sqlite:////absolute/tasks.db) or"
    " mysql://user:password@host:3306/database (mariadb:// too)"
)
_MYSQL_OPTIONS: Final = frozenset({"pool_size", "heartbeat_timeout"})


_refused_memory: list[str] = []


def refuse_memory(why: str) -> None:
    """Open no ``memory://`` in this process from now on: it would be another one than is meant."""
    _refused_memory[:] = [why]


def storage_from_url(
    url: str, clock: Clock | None = None, *, create: bool = True, **options: Any
) -> TaskStorage:
    """Return the storage a URL names.

    Args:
        url: ``memory://``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``,
            ``mysql://user:password@host:3306/database`` or ``mariadb://…``.
        clock: Gives the times of records; None = the host's clock, on MySQL the server's.
        create: Whether an SQLite file is created, and its schema updated; no other storage does.
        options: ``pool_size`` and ``heartbeat_timeout`` (seconds), see `MySQLTaskStorage`; the
            other storages have no use for them.

    Raises:
        ConfigError: the scheme or an option is unknown, or the URL is malformed.
        StorageUnavailable: an SQLite file cannot be opened.
    """
    unknown = sorted(options.keys() - _MYSQL_OPTIONS)
    if unknown:
        known = ", ".join(sorted(_MYSQL_OPTIONS))
        raise ConfigError(f"unknown storage option {unknown[0]!r}; known are {known}")
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ConfigError(f"url={mask_url(url)!r} has no scheme; expected {_KNOWN}")
    if scheme == "memory":
        if _refused_memory:
            raise ConfigError(_refused_memory[0])
        from mqtasks.storage.memory import MemoryTaskStorage

        return MemoryTaskStorage(clock)
    if scheme == "sqlite":
        from mqtasks.storage.sqlite import SQLiteTaskStorage

        return SQLiteTaskStorage(_sqlite_path(url, rest), clock, create=create)
    if scheme in {"mysql", "mariadb"}:
        from mqtasks.storage.mysql import MySQLTaskStorage

        return MySQLTaskStorage(url, clock, **options)
    raise ConfigError(f"url={mask_url(url)!r}: unknown scheme {scheme!r}; expected {_KNOWN}")


class TaskStorageFactory(ABC):
    """Makes a storage for the address of a database."""

    @abstractmethod
    def create(self, address: str) -> TaskStorage:
        """Return a storage on ``address``. Raises ConfigError, StorageUnavailable."""


class FixedTaskStorageFactory(TaskStorageFactory):
    """Gives the same storage for every address."""

    def __init__(self, storage: TaskStorage) -> None:
        """Keep ``storage``, which the caller made."""
        self._storage = storage

    def create(self, address: str) -> TaskStorage:  # noqa: ARG002 - any address
        """Return the storage given to the constructor."""
        return self._storage


class MySQLTaskStorageFactory(TaskStorageFactory):
    """Makes MySQL storages that differ in nothing but the server's address."""

    def __init__(self, username: str, password: str, database: str) -> None:
        """Keep the login and the database."""
        self._username = username
        self._password = password
        self._database = database

    def __repr__(self) -> str:
        return f"MySQLTaskStorageFactory({self._username!r}, '***', {self._database!r})"

    def create(self, address: str) -> TaskStorage:
        """Return a storage on ``address``: ``host``, ``host:port``, or a socket's path."""
        from mqtasks.storage.mysql import MySQLTaskStorage
        from mqtasks.storage.mysql.address import address_url

        return MySQLTaskStorage(
            address_url(self._username, self._password, address, self._database)
        )


def _sqlite_path(url: str, rest: str) -> str:
    from urllib.parse import unquote

    if not rest.startswith("/") or len(rest) == 1:
        raise ConfigError(
            f"url={url!r} names no file; write sqlite:///tasks.db for a relative path and"
            " sqlite:////var/lib/tasks.db for an absolute one"
        )
    return unquote(rest[1:])
