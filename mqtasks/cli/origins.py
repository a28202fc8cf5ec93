"""Where tasks live, and who said so: what a start logs, ``--check`` prints and a warning names."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final

from mqtasks.cli.options import given_settings

if TYPE_CHECKING:
    from mqtasks.config import Option, Settings

_PLACES: Final = ("url", "redis")
_log = logging.getLogger("mqtasks.cli")


def places(settings: Settings) -> list[str]:
    """Return ``name: value (origin)`` for storage and Redis, without passwords."""
    shown = settings.masked()
    return [f"{name}: {shown[name] or 'none'} ({_origin(settings, name)})" for name in _PLACES]


def log_places(settings: Settings) -> None:
    """Log them: the first thing to look at when tasks do not arrive."""
    _log.info("%s", "; ".join(places(settings)))


def warn_of_unused_variables(settings: Settings) -> None:
    """Log each variable that is set and has no effect, since the app's code says otherwise."""
    from mqtasks.config import OPTIONS, mask_url

    given = given_settings()
    shown = settings.masked()
    for known in OPTIONS:
        said = os.environ.get(known.variable, "").strip()
        in_force = getattr(settings, known.name)
        if known.name in given or not said or _parsed(known, said) == in_force:
            continue
        if settings.origins[known.name] != known.variable:
            _log.warning(
                "%s=%s is set and not used: the app's code says %s=%s; leave it out of the code to"
                " let the variable decide",
                known.variable,
                "***" if known.secret else mask_url(said),
                known.name,
                shown[known.name],
            )


def _origin(settings: Settings, name: str) -> str:
    if name in given_settings():
        return f"--{name}"
    origin = settings.origins[name]
    return "the app's code" if origin == "argument" else origin


def _parsed(known: Option, said: str) -> Any:
    try:
        return known.parse(said)
    except ValueError:
        return said
