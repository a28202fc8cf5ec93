"""The application that is configured by ``MQTASKS`` of Django's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings as django_settings
from django.db import DEFAULT_DB_ALIAS

from mqtasks.app import MQTasks
from mqtasks.config import Settings
from mqtasks.errors import ConfigError
from mqtasks.integrations.django.connections import FreshConnections
from mqtasks.integrations.django.databases import database_url

_OURS: Final = ("DATABASE", "MIDDLEWARE")
"""Keys of ``MQTASKS`` that are no settings of mqtasks."""


class DjangoTasks(MQTasks):
    """An application whose settings are ``MQTASKS`` of Django's settings, read at first use.

    Its keys are the names of mqtasks' settings in capitals (``URL``, ``REDIS``, ``NAMESPACE``, …),
    and ``DATABASE``, the alias of the Django database that the tasks live in. With neither ``URL``
    nor ``DATABASE``, nor an address in a MQTASKS_URL variable or a file, that is ``default``.
    `FreshConnections` stands around each execution.
    """

    def __init__(self) -> None:
        """Make an application; reads no settings."""
        super().__init__(middleware=[FreshConnections()])
        self._database: str | None = None

    @property
    def settings(self) -> Settings:
        """The settings in force; loaded at first use. Raises ConfigError."""
        with self._lock:
            if self._settings is None:
                self._settings, self._database = load()
            return self._settings

    @property
    def database(self) -> str | None:
        """Alias of the Django database whose transactions tasks can be part of; None = none."""
        with self._lock:
            if self._settings is None:
                self._settings, self._database = load()
            return self._database

    def reload(self) -> bool:
        """Read Django's settings again; on a change disconnect. Return whether there was one."""
        found, database = load()
        with self._lock:
            changed = self._settings is not None and found != self._settings
            self._database = database
        if changed:
            self.configure(found)
        return changed


def given() -> dict[str, Any]:
    """Return ``MQTASKS`` of Django's settings. Raises ConfigError unless it is a mapping."""
    found = getattr(django_settings, "MQTASKS", {})
    if not isinstance(found, Mapping):
        raise ConfigError(f"MQTASKS={found!r} in Django's settings: must be a dict")
    for name in found:
        if not isinstance(name, str) or not name.isupper():
            raise ConfigError(f"MQTASKS[{name!r}] in Django's settings: keys are in capitals")
    return dict(found)


def load() -> tuple[Settings, str | None]:
    """Return the settings that Django's ask for, and the alias of the tasks' database, if any.

    Raises ConfigError for a key that is no setting, a bad value, and a database that can hold no
    tasks.
    """
    named = given()
    database: str | None = named.get("DATABASE")
    values = {name.lower(): value for name, value in named.items() if name not in _OURS}
    if "url" in values:
        return Settings.load(**values), database
    if database is not None:
        return Settings.load(url=database_url(database), **values), database
    settings = Settings.load(**values)
    if settings.origins["url"] != "default":
        return settings, None
    return Settings.load(url=database_url(DEFAULT_DB_ALIAS), **values), DEFAULT_DB_ALIAS


app: Final = DjangoTasks()
"""The application of this Django project."""
