"""Finding out which library a connection comes from, by what is imported already."""

from __future__ import annotations

import sys
from typing import Any

from mqtasks.storage.caller.django import DjangoHandle
from mqtasks.storage.caller.handle import Handle
from mqtasks.storage.caller.sqlalchemy import ConnectionHandle, SessionHandle


def unwrap(connection: Any) -> Handle:
    """Return the handle of a connection; what nobody knows counts as a driver's own."""
    if _is(connection, "sqlalchemy.orm", "Session", "scoped_session"):
        return SessionHandle(connection)
    if _is(connection, "sqlalchemy.engine", "Connection"):
        return ConnectionHandle(connection)
    if _is(connection, "django.utils.connection", "ConnectionProxy"):
        # `django.db.connection` stands for the thread's default connection.
        connection = sys.modules["django.db"].connections[connection.alias]
    if _is(connection, "django.db.backends.base.base", "BaseDatabaseWrapper"):
        return DjangoHandle(connection)
    return Handle(connection)


def _is(connection: Any, module: str, *names: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(
        connection, tuple(getattr(loaded, name) for name in names)
    )
