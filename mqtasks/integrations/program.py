"""How a framework's own command starts the mqtasks program."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from mqtasks.config import OPTIONS, Settings

_TAKES_APP: Final = frozenset({"worker", "dev", "enqueue"})


def program(
    arguments: Sequence[str],
    app: str,
    settings: Callable[[], Settings],
    folders: Iterable[str] = (),
) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment that run mqtasks with ``arguments``.

    Commands that take an application get ``app``, as ``MODULE:APP``, in front of the rest, and
    import it; the others get the ``settings`` by variables. ``folders`` are added to where modules
    are found. Raises what ``settings`` raises.
    """
    environment = dict(os.environ)
    known = environment.get("PYTHONPATH", "").split(os.pathsep)
    paths = dict.fromkeys(path for path in (*folders, *known) if path)
    if paths:
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    command, *rest = arguments or ["--help"]
    if "--help" in {command, *rest}:
        pass
    elif command in _TAKES_APP and "--executor" not in rest:
        rest.insert(0, app)
    else:
        environment.update(variables(settings()))
    return [sys.executable, "-m", "mqtasks", command, *rest], environment


def variables(settings: Settings) -> dict[str, str]:
    """Return, as MQTASKS_* variables, what an application says of itself."""
    found = {}
    for known in OPTIONS:
        value = getattr(settings, known.name)
        if settings.origins.get(known.name) == "argument" and value is not None:
            text = json.dumps(dict(value)) if isinstance(value, Mapping) else str(value)
            found[known.variable] = text
    return found
