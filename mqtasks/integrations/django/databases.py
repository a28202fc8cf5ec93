"""Where a database of Django's is, as mqtasks names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from django.db import connections

from mqtasks.errors import ConfigError

_REMEDY: Final = 'give MQTASKS["URL"]'


def database_url(alias: str) -> str:
    """Return the URL of the Django database ``alias``: SQLite in a file, or MySQL.

    Raises ConfigError for any other, and for one that other processes cannot reach.
    """
    connection = connections[alias]
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return _sqlite(alias, values)
    if connection.vendor == "mysql":
        return _mysql(alias, values)
    raise ConfigError(
        f"DATABASES[{alias!r}] is {connection.display_name}, where tasks cannot live: {_REMEDY}"
    )


def _sqlite(alias: str, values: dict[str, Any]) -> str:
    name = str(values["NAME"])
    if in_memory(name):
        raise ConfigError(
            f"DATABASES[{alias!r}] is in memory, where no worker can reach it: {_REMEDY}, in tests"
            " use mqtasks.testing"
        )
    if name.startswith("file:"):
        raise ConfigError(f"DATABASES[{alias!r}] is named by a file: URI: {_REMEDY}")
    return f"sqlite:///{Path(name).absolute()}"


def in_memory(name: str) -> bool:
    """Return whether Django calls an SQLite database of this name one in memory."""
    return name == ":memory:" or "mode=memory" in name


def _mysql(alias: str, values: dict[str, Any]) -> str:
    options: dict[str, Any] = values.get("OPTIONS") or {}
    if not values.get("USER") or not values.get("NAME"):
        raise ConfigError(
            f"DATABASES[{alias!r}] names no USER or NAME (they may be in a file of the driver's):"
            f" {_REMEDY}"
        )
    user, password = quote(values["USER"], safe=""), quote(values.get("PASSWORD") or "", safe="")
    host, port = values.get("HOST") or "", values.get("PORT") or 3306
    query: dict[str, str] = {}
    socket = host if host.startswith("/") else options.get("unix_socket")
    if socket:
        query["unix_socket"], host = socket, ""
    ssl = options.get("ssl")
    if isinstance(ssl, dict) and ssl.get("ca"):
        query["ssl_ca"] = ssl["ca"]
    elif ssl:
        query["ssl"] = "require"
    place = f"{host or '127.0.0.1'}:{port}/{quote(values['NAME'], safe='')}"
    secret = f":{password}" if password else ""
    return f"mysql://{user}{secret}@{place}{'?' if query else ''}{urlencode(query)}"
