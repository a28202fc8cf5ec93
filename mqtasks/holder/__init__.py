"""`TaskServiceHolder`: a task service made on command, which follows the database's address."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from mqtasks.errors import ConfigError
from mqtasks.holder.refreshable import StorageFollower, refreshable_storage
from mqtasks.service import TaskService
from mqtasks.storage.factory import MySQLTaskStorageFactory, TaskStorageFactory

__all__ = ["CreateTaskService", "TaskServiceHolder"]


class CreateTaskService(msgspec.Struct, frozen=True):
    """The command to create the task service, with the account to use. The password is masked."""

    user: str
    password: str
    database: str

    def __repr__(self) -> str:
        """Return a text without the password."""
        return f"CreateTaskService(user={self.user!r}, password='***', database={self.database!r})"


StorageFactorySelector: TypeAlias = Callable[[str, str, str], TaskStorageFactory]
"""(user, password, database) to a factory of storages."""


class TaskServiceHolder:
    """Creates a task service once, holds it, and lets its storage follow the database.

    ``address_factory`` answers where the database is now (``"host:port"``); it is asked at
    creation and again whenever a call fails. Safe to use from many threads.
    """

    def __init__(
        self,
        address_factory: Callable[[], str],
        storage_factory_selector: StorageFactorySelector = MySQLTaskStorageFactory,
        logger: logging.Logger | None = None,
    ) -> None:
        """Hold nothing yet; `create` makes the service."""
        self._address_factory = address_factory
        self._selector = storage_factory_selector
        self._logger = logger or logging.getLogger("mqtasks.holder")
        self._lock = threading.Lock()
        self._service: TaskService | None = None
        self._closed = False

    def create(self, command: CreateTaskService) -> None:
        """Create the service; later calls do nothing. Raises ConfigError once closed.

        Errors of the address factory and of the storage factory pass through, and the call may
        then be made again.
        """
        with self._lock:
            if self._closed:
                msg = "the task service holder is closed; make a new one"
                raise ConfigError(msg)
            if self._service is not None:
                return
            factory = self._selector(command.user, command.password, command.database)
            follower = StorageFollower(self._address_factory, factory.create)
            self._service = TaskService(refreshable_storage(follower), logger=self._logger)

    def get(self) -> TaskService | None:
        """Return the service, or None before `create` and after `close`."""
        return self._service

    def close(self) -> None:
        """Close the service, if there is one. Idempotent."""
        with self._lock:
            self._closed = True
            service, self._service = self._service, None
        if service is not None:
            service.close()
