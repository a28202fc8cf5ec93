"""Starlette and FastAPI: the application's connection lives as long as the server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

from starlette.requests import HTTPConnection

from mqtasks.app import MQTasks
from mqtasks.errors import ConfigError

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]


def lifespan(tasks: MQTasks, inner: Lifespan | None = None) -> Lifespan:
    """Return a lifespan that connects ``tasks`` at startup and closes it at shutdown.

    ``inner`` is a lifespan of yours, run inside of it; its state is kept. A storage that cannot be
    reached ends the startup with ConfigError, SchemaMismatch or StorageUnavailable. May be used
    for several servers, one after the other.
    """

    @contextlib.asynccontextmanager
    async def connected(server: Any) -> AsyncIterator[Any]:
        await asyncio.to_thread(lambda: tasks.service)
        server.state.mqtasks = tasks
        try:
            if inner is None:
                yield None
            else:
                async with inner(server) as state:
                    yield state
        finally:
            await asyncio.to_thread(tasks.close)

    return connected


async def get_app(connection: HTTPConnection) -> MQTasks:
    """Return the application of the server that handles this request; a FastAPI dependency.

    Raises ConfigError if the server was started without `lifespan`.
    """
    tasks = getattr(connection.app.state, "mqtasks", None)
    if not isinstance(tasks, MQTasks):
        raise ConfigError(
            "this server has no mqtasks application: start it with"
            " lifespan=mqtasks.integrations.starlette.lifespan(app)"
        )
    return tasks
