"""The composition root: settings in, connected objects out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from mqtasks.clock import Clock, SystemClock
from mqtasks.config import Settings
from mqtasks.coordination.base import Coordination
from mqtasks.coordination.factory import coordination_from_url
from mqtasks.service import TaskService
from mqtasks.storage.contract import TaskStorage
from mqtasks.storage.factory import storage_from_url

logger = logging.getLogger("mqtasks.runtime")


class Runtime:
    """One process's connections: storage, coordination, and the service over both.

    Make it with `open`. A context manager. Not usable after a fork: open another in the child.
    """

    def __init__(
        self,
        settings: Settings,
        storage: TaskStorage,
        coordination: Coordination,
        clock: Clock,
        service: Callable[..., TaskService] = TaskService,
    ) -> None:
        """Take over ``storage`` and ``coordination``; users call `open`.

        ``service`` makes the service: a subclass, in tests.
        """
        self.settings: Final = settings
        self.clock: Final = clock
        self.coordination: Final = coordination
        self.service: Final = service(
            storage,
            coordination.notifier,
            coordination.heartbeats,
            namespace=settings.namespace,
            clock=clock,
            hint_key=(settings.hint_key or "").encode(),
            max_payload_bytes=settings.max_payload_bytes,
            heartbeat_timeout=settings.heartbeat_timeout,
            settings=settings,
        )

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        check_schema: bool = True,
        create: bool = True,
        clock: Clock | None = None,
    ) -> Self:
        """Connect as ``settings`` say.

        An SQLite file is created, and its schema updated, unless ``create`` is False. The schema
        is checked unless ``check_schema`` is False (only `mqtasks migrate` has reason to). Raises
        ConfigError, SchemaMismatch, StorageUnavailable; a Redis that is down raises nothing.
        """
        clock = clock or SystemClock()
        storage = storage_from_url(
            settings.url, create=create, heartbeat_timeout=settings.heartbeat_timeout
        )
        try:
            if check_schema:
                storage.check_schema()
            coordination = coordination_from_url(settings.redis, settings.namespace, clock)
        except BaseException:
            storage.close()
            raise
        return cls(settings, storage, coordination, clock)

    @property
    def storage(self) -> TaskStorage:
        """The storage under the service."""
        return self.service.storage

    def close(self) -> None:
        """Close the service and everything below it. Idempotent."""
        self.service.close()
        self.coordination.close()

    def __enter__(self) -> Self:
        """Return the runtime itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close everything."""
        self.close()
