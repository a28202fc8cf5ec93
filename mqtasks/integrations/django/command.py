"""How the mqtasks program is started for a Django project."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from django.conf import settings as django_settings

from mqtasks.config import OPTIONS
from mqtasks.errors import ConfigError
from mqtasks.integrations.django.application import app

APP: Final = "mqtasks.integrations.django.worker:app"
_TAKES_APP: Final = frozenset({"worker", "dev", "enqueue"})


def command_line(
    arguments: Sequence[str], folders: Iterable[str]
) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment that run mqtasks with ``arguments``.

    Commands that take an application get this project's, and import it; the others get its
    settings by variables. ``folders`` are added to where modules are found. Raises ConfigError for
    settings that are wrong.
    """
    environment = dict(os.environ)
    environment["DJANGO_SETTINGS_MODULE"] = _settings_module()
    known = environment.get("PYTHONPATH", "").split(os.pathsep)
    paths = dict.fromkeys(path for path in (*folders, *known) if path)
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    command, *rest = arguments or ["--help"]
    if command in _TAKES_APP and not {"--executor", "--help"}.intersection(rest):
        rest.insert(0, APP)
    elif command != "--help":
        environment.update(_variables())
    return [sys.executable, "-m", "mqtasks", command, *rest], environment


def _settings_module() -> str:
    found = os.environ.get("DJANGO_SETTINGS_MODULE")
    if not found:
        module = getattr(django_settings, "SETTINGS_MODULE", None)
        if module is None:
            raise ConfigError("DJANGO_SETTINGS_MODULE is not set: a worker could not find Django")
        return str(module)
    return found


def _variables() -> dict[str, str]:
    """Return what is set here as other programs are told it."""
    settings = app.settings
    found = {}
    for known in OPTIONS:
        value = getattr(settings, known.name)
        if settings.origins.get(known.name) == "argument" and value is not None:
            text = json.dumps(dict(value)) if isinstance(value, Mapping) else str(value)
            found[known.variable] = text
    return found
