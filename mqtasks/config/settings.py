"""The settings of one process, checked as a whole."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from mqtasks.config import values
from mqtasks.config.mask import MASK, mask_url
from mqtasks.config.options import option, options_of, physical_memory, usable_cpus
from mqtasks.config.sources import find_file, nearest, read_environment, read_file
from mqtasks.errors import ConfigError

DEFAULT: Final = "default"
ARGUMENT: Final = "argument"
_DAY: Final = 86_400.0
_BEATS: Final = 3
_MOST_THREADS: Final = 32


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """What one process of mqtasks needs to know. Immutable; made with `load` or directly.

    Durations are seconds; where a number of seconds is expected, text such as ``500ms``, ``90s``,
    ``1h30m`` or ``7d`` will do, and for bytes text such as ``512MiB``. Raises ConfigError, naming
    setting, value and remedy, for a value out of range and for values that contradict each other.
    """

    url: str = option(
        "sqlite:///mqtasks.db",
        values.text,
        "Where tasks live: mysql://user:password@host/database, sqlite:///file or memory://.",
    )
    redis: str | None = option(
        None,
        values.optional_text,
        "Redis that carries hints and heartbeats; none = this process only, and polling.",
    )
    namespace: str = option("default", values.name, "Separates installations that share one Redis.")
    heartbeat_interval: float = option(
        3.0, values.seconds(), "Seconds between two renewals of a runner's lease, > 0."
    )
    heartbeat_timeout: float = option(
        15.0,
        values.seconds(),
        "Seconds after which a silent runner is lost; at least 3 heartbeat intervals. A runner"
        " itself stops trusting its lease two intervals earlier.",
    )
    fetch_interval: float = option(
        1.0, values.seconds(), "Seconds between two fetches of a runner that gets no hints, > 0."
    )
    safety_interval: float = option(
        10.0,
        values.seconds(),
        "Seconds between two polls while hints flow, for those that get lost; at least"
        " fetch_interval, also by default.",
    )
    fetch_limit: int = option(1_000, values.whole(1), "Most tasks in one fetch, at least 1.")
    fetch_timeout: float = option(
        10.0,
        values.seconds(),
        "Seconds after which a fetch is given up and its connection dropped; at most"
        " heartbeat_timeout, also by default.",
    )
    max_wait_tasks: int = option(
        256, values.whole(0), "Most tasks that wait at a runner beside those that run; 0 = none."
    )
    parallelism: int = option(
        lambda: min(_MOST_THREADS, usable_cpus() + 4),
        values.whole(1),
        "Tasks a runner executes at once, at least 1; by default CPUs + 4, at most 32.",
    )
    retry_interval: float = option(
        1.0, values.seconds(), "Longest wait before a failed operation is tried again, > 0."
    )
    shutdown_timeout: float = option(
        30.0,
        values.seconds(zero=True),
        "Seconds that running tasks get on shutdown before they are canceled; 0 = at once.",
    )
    abort_timeout: float = option(
        0.5,
        values.seconds(zero=True),
        "Seconds that a task which ignores its timeout or cancellation goes on before TaskAborted"
        " is raised in its thread, and again as many before its end is reported without it.",
    )
    isolated_tasks: int = option(
        1_000,
        values.whole(0),
        "Tasks that a process for isolated tasks executes before it is replaced; 0 = any number.",
    )
    isolated_memory: int = option(
        0,
        values.size(0),
        "Bytes of data that a process for isolated tasks may have: more cannot be allocated, and"
        " one that keeps over half of it is replaced; 0 = no limit. A task's own limit goes first.",
    )
    isolated_start_timeout: float = option(
        60.0,
        values.seconds(),
        "Seconds that a process for isolated tasks may take to import the app, > 0.",
    )
    max_crashes: int = option(
        3, values.whole(1), "How often a task may crash its process before it ends FAILED."
    )
    retention_success: float = option(
        7 * _DAY,
        values.seconds(zero=True),
        "Seconds that successful and canceled tasks are kept; their own option goes first.",
    )
    retention_failure: float = option(
        30 * _DAY,
        values.seconds(zero=True),
        "Seconds that failed tasks are kept; their own option goes first.",
    )
    max_payload_bytes: int = option(
        2**20, values.size(1), "Largest payload of a task, and largest result, in bytes."
    )
    leader_ttl: float = option(
        5.0,
        values.seconds(),
        "Seconds after which a silent leading scheduler is replaced; at least 3 leader_renew.",
    )
    leader_renew: float = option(
        1.5, values.seconds(), "Seconds between two renewals of the leader's lease, > 0."
    )
    labels: Mapping[str, str] = option(
        dict, values.labels, "Labels of the runner; a task's labels must all be among them."
    )
    cpu: float = option(
        lambda: float(usable_cpus()),
        values.number,
        "Cores the runner offers for reservations; by default all it may use.",
    )
    memory: int = option(
        physical_memory,
        values.size(0),
        "Bytes of memory the runner offers for reservations; by default all of the host's.",
    )
    resources: Mapping[str, float] = option(
        dict, values.amounts, "Named amounts the runner offers for reservations: gpu=2,licence=1."
    )
    log_level: str = option(
        "info", values.choice("debug", "info", "warning", "error"), "What is logged."
    )
    log_format: str = option(
        "text", values.choice("text", "json"), "Log lines for people, or one JSON object each."
    )
    log_context: str = option(
        "none",
        values.choice("none", "task"),
        "Whether each line that a task logs, by any logger, names the task.",
    )
    hint_key: str | None = option(
        None,
        values.optional_text,
        "Secret that signs hints; with none, hints carry no rows. The same in every process.",
        secret=True,
    )
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)
    """Where each value comes from: ``default``, a file, a variable, or ``argument``."""

    def __post_init__(self) -> None:
        """Parse and check every value."""
        origins = {}
        for known in OPTIONS:
            value = getattr(self, known.name)
            given = ARGUMENT if value != known.default else DEFAULT
            origins[known.name] = self.origins.get(known.name, given)
            try:
                parsed = known.parse(value)
            except ValueError as error:
                shown = self._shown(known.name, value)
                where = origins[known.name]
                raise ConfigError(f"{known.name}={shown!r} ({where}): {error}") from None
            object.__setattr__(self, known.name, parsed)
        object.__setattr__(self, "origins", origins)
        # Their defaults follow the value they are bound by, so that changing that one suffices.
        self._default_at_most("fetch_timeout", self.heartbeat_timeout)
        self._default_at_least("safety_interval", self.fetch_interval)
        self._check_together()

    @classmethod
    def load(
        cls,
        *,
        config: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        **given: Any,
    ) -> Self:
        """Return the settings in force; what comes later wins.

        1. Defaults.
        2. A TOML file: ``config``, else what MQTASKS_CONFIG names, else ``mqtasks.toml`` or else
           ``[tool.mqtasks]`` of ``pyproject.toml`` in ``cwd`` (by default the current folder).
        3. Variables MQTASKS_<NAME> of ``environ`` (by default the process's). An empty one counts
           as not set; for ``redis`` and ``hint_key`` the word ``none`` takes a file's value back.
        4. ``given``, where it is not None.

        Raises ConfigError for an unknown setting (naming file and nearest name), a bad value, and a
        file that cannot be read.
        """
        environ = os.environ if environ is None else environ
        names = [known.name for known in OPTIONS]
        found: dict[str, tuple[Any, str]] = {}
        file = find_file(config, environ, Path(cwd) if cwd is not None else Path.cwd())
        if file is not None:
            found.update(read_file(file, names))
        found.update(read_environment(environ, {known.variable: known.name for known in OPTIONS}))
        for name, value in given.items():
            if name not in names:
                raise ConfigError(f"unknown setting {name!r}{nearest(name, names)}")
            if value is not None:
                found[name] = (value, ARGUMENT)
        return cls(
            **{name: value for name, (value, _) in found.items()},
            origins={name: origin for name, (_, origin) in found.items()},
        )

    def replace(self, **changes: Any) -> Self:
        """Return these settings with some values changed, and all checked again."""
        kept = {
            name: getattr(self, name) for name, origin in self.origins.items() if origin != DEFAULT
        }
        origins = {name: self.origins[name] for name in kept} | dict.fromkeys(changes, ARGUMENT)
        return type(self)(**{**kept, **changes}, origins=origins)

    def masked(self) -> dict[str, Any]:
        """Return all values for people to see: no password, no key."""
        return {known.name: self._shown(known.name, getattr(self, known.name)) for known in OPTIONS}

    def __repr__(self) -> str:
        """Show what is not default, without secrets."""
        changed = {
            name: value for name, value in self.masked().items() if self.origins[name] != DEFAULT
        }
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    @staticmethod
    def _shown(name: str, value: Any) -> Any:
        if value is None:
            return None
        if name in _SECRET:
            return MASK
        if isinstance(value, str):
            return mask_url(value)
        return dict(value) if isinstance(value, Mapping) else value

    def _default_at_most(self, name: str, bound: float) -> None:
        if self.origins[name] == DEFAULT:
            object.__setattr__(self, name, min(getattr(self, name), bound))

    def _default_at_least(self, name: str, bound: float) -> None:
        if self.origins[name] == DEFAULT:
            object.__setattr__(self, name, max(getattr(self, name), bound))

    def _check_together(self) -> None:
        self._at_least("heartbeat_timeout", _BEATS, "heartbeat_interval")
        self._at_least("leader_ttl", _BEATS, "leader_renew")
        self._at_least("safety_interval", 1, "fetch_interval")
        self._at_least("heartbeat_timeout", 1, "fetch_timeout")

    def _at_least(self, larger: str, times: int, smaller: str) -> None:
        high, low = getattr(self, larger), getattr(self, smaller)
        if high < low * times:
            factor = f"{times} x " if times > 1 else ""
            raise ConfigError(
                f"{larger}={high:g} ({self.origins[larger]}) must be at least {factor}{smaller}"
                f"={low:g} ({self.origins[smaller]}): raise {larger} to {low * times:g} or lower"
                f" {smaller} to {high / times:g}"
            )


OPTIONS: Final = options_of(Settings)
"""Every setting, in the order of the documentation."""
_SECRET: Final = frozenset(known.name for known in OPTIONS if known.secret)
