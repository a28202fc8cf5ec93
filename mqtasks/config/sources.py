"""Where settings come from: a TOML file and the environment."""

from __future__ import annotations

import difflib
import logging
import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from mqtasks.errors import ConfigError

_log = logging.getLogger("mqtasks.config")

Found: TypeAlias = dict[str, tuple[Any, str]]
"""Setting → value and origin."""

_PREFIX: Final = "MQTASKS_"
_CONFIG: Final = "MQTASKS_CONFIG"
_OWN_FILE: Final = "mqtasks.toml"
_PROJECT_FILE: Final = "pyproject.toml"
_ALIKE: Final = 0.85


def find_file(
    config: str | os.PathLike[str] | None, environ: Mapping[str, str], cwd: Path
) -> Path | None:
    """Return the file to read: the one that is named, else one of the usual two in ``cwd``.

    Raises ConfigError if a named file does not exist.
    """
    named = config or environ.get(_CONFIG)
    if named:
        path = cwd / named
        if not path.is_file():
            origin = "config" if config else _CONFIG
            raise ConfigError(f"{origin}={str(named)!r}: no such file; looked for {path}")
        return path
    for name in (_OWN_FILE, _PROJECT_FILE):
        if (cwd / name).is_file():
            return cwd / name
    return None


def read_file(path: Path, names: Collection[str]) -> Found:
    """Return the settings of a TOML file; of a ``pyproject.toml``, those in ``[tool.mqtasks]``.

    Raises ConfigError if it cannot be read, or holds a setting that is not in ``names``.
    """
    try:
        table: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if path.name == _PROJECT_FILE:
        table = table.get("tool", {}).get("mqtasks", {})
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: [tool.mqtasks] must be a table of settings")
    for key in table:
        if key not in names:
            raise ConfigError(f"unknown setting {key!r} in {path}{nearest(key, names)}")
    return {key: (value, str(path)) for key, value in table.items()}


def read_environment(environ: Mapping[str, str], variables: Mapping[str, str]) -> Found:
    """Return the settings of MQTASKS_* variables; empty ones count as not set.

    Unknown variables are no error: options of commands have theirs, and Kubernetes invents some for
    a service of that name. But one that is nearly a setting's is logged as a probable mistake.
    """
    for name in environ:
        if name.startswith(_PREFIX) and name not in variables and name != _CONFIG:
            # As many words: MQTASKS_WORKER_PARALLELISM belongs to an option of a command.
            alike = [other for other in variables if other.count("_") == name.count("_")]
            if near := difflib.get_close_matches(name, alike, n=1, cutoff=_ALIKE):
                _log.warning("the variable %s is not used; did you mean %s?", name, near[0])
    return {
        setting: (environ[variable], variable)
        for variable, setting in variables.items()
        if environ.get(variable, "").strip()
    }


def nearest(name: str, names: Collection[str]) -> str:
    """Return the end of a message about an unknown setting: the nearest name, or all of them."""
    near = difflib.get_close_matches(name, names, n=1)
    return f": did you mean {near[0]!r}?" if near else f"; known settings: {', '.join(names)}"
