"""One setting: its meaning and how its values are read. `option` declares it as a field."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Final

from mqtasks.config.values import Parse

_KEY: Final = "mqtasks.option"


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """What there is to know about one setting, for documentation and for reading it."""

    name: str
    """Its field in `Settings`, its key in TOML, and in upper case the end of its variable."""
    meaning: str
    """One or two sentences with unit, range and what special values do."""
    parse: Parse
    default: Any
    secret: bool = False
    """Whether its value is never shown."""

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"MQTASKS_{self.name.upper()}"


def option(default: Any, parse: Parse, meaning: str, *, secret: bool = False) -> Any:
    """Declare a field of `Settings`. ``default`` may be a function that finds it on this host."""
    metadata = {_KEY: (meaning, parse, secret)}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def options_of(settings: type[Any]) -> tuple[Option, ...]:
    """Return the options that a dataclass declares, in its order."""
    found = []
    for field in dataclasses.fields(settings):
        if _KEY in field.metadata:
            meaning, parse, secret = field.metadata[_KEY]
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            found.append(Option(field.name, meaning, parse, default, secret))
    return tuple(found)


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def physical_memory() -> int:
    """Return this host's memory in bytes; 0 where it cannot be asked."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
