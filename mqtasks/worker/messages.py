"""What the processes of a worker say to each other. All of it stays on this host, in pipes."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from mqtasks.config import OPTIONS, Settings
from mqtasks.errors import (
    ConfigError,
    CoordinationUnavailable,
    MQTasksError,
    RunnerConflict,
    SchemaMismatch,
    StorageError,
    StorageUnavailable,
)
from mqtasks.model import RunnerRecord


class Load(msgspec.Struct, tag=True, frozen=True):
    """Supervisor to runner process: import this app; settings by name win over its own."""

    app: str
    given: dict[str, Any]


class Loaded(msgspec.Struct, tag=True, frozen=True):
    """Answer: the settings in force, see `settings_to_dict`."""

    settings: dict[str, Any]


class Begin(msgspec.Struct, tag=True, frozen=True):
    """Supervisor to runner process: start a runner; ``options`` as by `RunnerOptions.to_dict`."""

    runner_id: str
    options: dict[str, Any]


class Registered(msgspec.Struct, tag=True, frozen=True):
    """Answer: the runner is registered, its lease is to be kept."""

    record: RunnerRecord


class Stop(msgspec.Struct, tag=True, frozen=True):
    """Supervisor to runner process: stop, see `TaskRunner.stop`."""

    timeout: float | None = None


class Stopped(msgspec.Struct, tag=True, frozen=True):
    """The runner has stopped in order; its process ends next."""


class Broken(msgspec.Struct, tag=True, frozen=True):
    """The sender cannot go on; ``kind`` is the class of the error."""

    kind: str
    message: str
    trace: str = ""
    """Traceback of an error that is not one of mqtasks', whose message alone would not do."""
    lasting: bool = False
    """Whether trying again does not mend it."""

    @classmethod
    def of(cls, error: BaseException) -> Broken:
        """Return the message about an error."""
        lasting = isinstance(error, SchemaMismatch) or not isinstance(error, _PASSING)
        known = next((kind for kind in _KINDS if isinstance(error, kind)), None)
        if known is not None:
            return cls(known.__name__, str(error), lasting=lasting)
        ours = isinstance(error, MQTasksError)
        trace = "" if ours else "".join(traceback.format_exception(error)).rstrip()
        return cls("", f"{type(error).__name__}: {error}", trace, lasting)

    def error(self) -> MQTasksError:
        """Return the error again, as one of mqtasks'."""
        kinds = {kind.__name__: kind for kind in _KINDS}
        return kinds.get(self.kind, MQTasksError)(self.message)


class Keep(msgspec.Struct, tag=True, frozen=True):
    """Embedded runner to its lease process: keep the lease of this runner, of process ``pid``."""

    settings: dict[str, Any]
    options: dict[str, Any]
    record: RunnerRecord
    pid: int
    beats: bool
    """Whether to write its keys to Redis, too."""


Message: TypeAlias = Load | Loaded | Begin | Registered | Stop | Stopped | Broken | Keep

_KINDS: tuple[type[MQTasksError], ...] = (ConfigError, SchemaMismatch, StorageUnavailable)
_PASSING: Final = (StorageError, CoordinationUnavailable, RunnerConflict, OSError, MemoryError)
"""What may be over at the next try: an outage, somebody else's lease, a lack of this host's."""


def settings_to_dict(settings: Settings) -> dict[str, Any]:
    """Return all values and where they come from, as JSON can carry them. Holds secrets."""
    values = {option.name: getattr(settings, option.name) for option in OPTIONS}
    values["origins"] = settings.origins
    return {
        name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()
    }


def settings_from_dict(values: Mapping[str, Any]) -> Settings:
    """Return what `settings_to_dict` was given."""
    return Settings(**values)
