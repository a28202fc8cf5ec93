"""How the mqtasks program is started for a Django project."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Final

from django.conf import settings as django_settings

from mqtasks.errors import ConfigError
from mqtasks.integrations.django.application import app
from mqtasks.integrations.program import program

APP: Final = "mqtasks.integrations.django.worker:app"


def command_line(
    arguments: Sequence[str], folders: Iterable[str]
) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment that run mqtasks for this project; see `program`.

    Raises ConfigError for settings that are wrong.
    """
    command, environment = program(arguments, APP, lambda: app.settings, folders)
    environment["DJANGO_SETTINGS_MODULE"] = _settings_module()
    return command, environment


def _settings_module() -> str:
    found = os.environ.get("DJANGO_SETTINGS_MODULE") or getattr(
        django_settings, "SETTINGS_MODULE", None
    )
    if not found:
        raise ConfigError("DJANGO_SETTINGS_MODULE is not set: a worker could not find Django")
    return str(found)
