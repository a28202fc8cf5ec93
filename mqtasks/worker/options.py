"""Everything a `TaskRunner` can be told, checked together before anything starts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final, Literal, Self

from mqtasks.config import OPTIONS, Settings
from mqtasks.config.options import usable_cpus
from mqtasks.errors import InvalidArgument
from mqtasks.model import checked_id

MAX_PARALLELISM: Final = 100_000
_MOST_THREADS: Final = 32
_LEAST_BEATS: Final = 3
"""Beats per lease: trust ends two beats before the lease does."""


def default_parallelism() -> int:
    """Return the usable CPUs + 4, at most 32: tasks mostly wait for something."""
    return min(_MOST_THREADS, usable_cpus() + 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """Options of a runner. Durations are seconds.

    All of the reference's ``WithRunner…`` options are fields here; its ``WithOptions`` is this
    constructor. Raises InvalidArgument, naming field, value and remedy, for values that are out of
    range or do not fit together.
    """

    parallelism: int = field(default_factory=default_parallelism)
    """Tasks executed at once, plain and async together; 1 to 100,000. Async executors share one
    thread, plain ones need one each."""
    max_wait_tasks: int = 256
    """Tasks that may wait here beside those; 0 = take only what can start at once."""
    fetch_interval: float = 1.0
    """Time between looks at storage while hints do not flow; also how old a hint's rows may be."""
    fetch_limit: int = 1000
    """Most rows loaded by one fetch, >= 1."""
    fetch_timeout: float = 10.0
    """A fetch that takes longer loses its connection and is counted; its answer is not used."""
    safety_interval: float = 10.0
    """Time between looks at storage while hints flow and nothing is held; >= fetch_interval."""
    heartbeat_interval: float = 3.0
    """Time between renewals of the lease; while tasks are held, also between self-checks."""
    heartbeat_timeout: float = 15.0
    """Length of the lease; at least three intervals. After this long without a sign of life tasks
    move elsewhere; two intervals earlier the runner itself stops trusting its lease."""
    retry_interval: float = 1.0
    """Longest wait before an operation that failed (not a task) is tried again; > 0."""
    shutdown_timeout: float = 30.0
    """How long `TaskRunner.stop` lets running tasks finish before it cancels them; 0 = at once."""
    cancel_timeout: float = 5.0
    """How long a task that has seen its cancellation may take to give up: until a stop releases it
    anyway, or until it is broken off."""
    abort_timeout: float = 0.5
    """How long a task that has not looked goes on after a timeout or a cancellation: then
    TaskAborted is raised in its thread, and after as long again its end is reported without it."""
    isolated_tasks: int = 1000
    """Tasks that a process for isolated tasks executes before another takes its place; 0 = any
    number."""
    isolated_memory: int = 0
    """Bytes of data that such a process may have: an allocation beyond fails, and one that keeps
    more than half of it after a task is replaced. 0 = no limit; a task's own one goes first."""
    isolated_start_timeout: float = 60.0
    """How long such a process may take to import the app; > 0."""
    max_crashes: int = 3
    """A task whose process has died under it more often than this ends FAILED; >= 0."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What this runner can show to tasks that ask for labels."""
    cpu: float = 0.0
    """Cores offered to tasks that reserve some; 0 = such tasks are not placed here."""
    memory: int = 0
    """Bytes offered to tasks that reserve some; 0 = such tasks are not placed here."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Named amounts offered to tasks that reserve some, > 0: ``{"gpu": 2}``."""
    heartbeat: Literal["process", "thread"] = "process"
    """Who renews the lease: a process of its own, which no user code can starve, or a thread of
    this one, which code that holds the interpreter for long can. Memory storage: always thread."""
    on_conflict: Literal["wait", "raise"] = "wait"
    """What `start` does while the runner id is leased by somebody else: wait until that lease
    lapses (and raise RunnerConflict if it is renewed), or raise at once."""
    logger: logging.Logger | None = None
    """Where messages go; ``mqtasks.worker`` by default."""

    def __post_init__(self) -> None:
        self._check_types()
        self._check_numbers()
        self._check_relations()
        object.__setattr__(self, "labels", MappingProxyType(dict(self.labels)))
        object.__setattr__(self, "resources", MappingProxyType(dict(self.resources)))

    def _check_types(self) -> None:
        for name in _INTEGERS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise InvalidArgument(name, value, "must be a whole number")
        for name in (*_POSITIVE, *_NOT_NEGATIVE):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise InvalidArgument(name, value, "must be a number")
        for key, value in self.labels.items():
            checked_id("labels", key)
            checked_id(f"labels[{key!r}]", value, empty=True)
        for name, amount in self.resources.items():
            checked_id("resources", name)
            if isinstance(amount, bool) or not isinstance(amount, (int, float)):
                raise InvalidArgument(f"resources[{name!r}]", amount, "must be a number")
            if not 0 < amount < float("inf"):
                raise InvalidArgument(f"resources[{name!r}]", amount, "must be > 0 and finite")

    def _check_numbers(self) -> None:
        if not 1 <= self.parallelism <= MAX_PARALLELISM:
            raise InvalidArgument(
                "parallelism", self.parallelism, f"must be between 1 and {MAX_PARALLELISM}"
            )
        if self.fetch_limit < 1:
            raise InvalidArgument("fetch_limit", self.fetch_limit, "must be >= 1")
        for name in _POSITIVE:
            if not 0 < getattr(self, name) < float("inf"):
                raise InvalidArgument(name, getattr(self, name), "must be > 0 and finite")
        for name in _NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < float("inf"):
                raise InvalidArgument(name, getattr(self, name), "must be >= 0 and finite")
        if self.heartbeat not in {"process", "thread"}:
            raise InvalidArgument("heartbeat", self.heartbeat, "must be 'process' or 'thread'")
        if self.on_conflict not in {"wait", "raise"}:
            raise InvalidArgument("on_conflict", self.on_conflict, "must be 'wait' or 'raise'")

    def _check_relations(self) -> None:
        least = _LEAST_BEATS * self.heartbeat_interval
        if self.heartbeat_timeout < least:
            raise InvalidArgument(
                "heartbeat_timeout",
                self.heartbeat_timeout,
                f"must be at least {_LEAST_BEATS} x heartbeat_interval, here {least:g}",
            )
        if self.safety_interval < self.fetch_interval:
            raise InvalidArgument(
                "safety_interval",
                self.safety_interval,
                f"must not be below fetch_interval, here {self.fetch_interval:g}",
            )

    @property
    def renewal_interval(self) -> float:
        """Seconds between renewals: an interval, or less where that would let trust lapse."""
        return min(
            self.heartbeat_interval, (self.heartbeat_timeout - 2 * self.heartbeat_interval) / 2
        )

    @property
    def lease_ms(self) -> int:
        """Length of the lease in milliseconds."""
        return round(self.heartbeat_timeout * 1000)

    @property
    def log(self) -> logging.Logger:
        """The logger to use."""
        return self.logger or logging.getLogger("mqtasks.worker")

    def to_dict(self) -> dict[str, Any]:
        """Return the options as JSON can carry them to a child process; the logger is left out."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "logger"}
        values["labels"] = dict(self.labels)
        values["resources"] = dict(self.resources)
        return values

    @classmethod
    def from_settings(cls, settings: Settings, **changes: Any) -> Self:
        """Return the options that a process's settings ask for; ``changes`` are options by name."""
        known = {known.name for known in OPTIONS}
        shared = {f.name: getattr(settings, f.name) for f in fields(cls) if f.name in known}
        return cls.from_dict({**shared, **changes})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return options from what `to_dict` returned, or from settings by field name.

        Raises InvalidArgument for a name that is not an option.
        """
        known = {f.name for f in fields(cls)}
        for name, value in values.items():
            if name not in known:
                listed = ", ".join(sorted(known))
                raise InvalidArgument(name, value, f"is no runner option; known: {listed}")
        return cls(**values)


_INTEGERS: Final = (
    "parallelism",
    "max_wait_tasks",
    "fetch_limit",
    "isolated_tasks",
    "isolated_memory",
    "max_crashes",
    "memory",
)
_POSITIVE: Final = (
    "fetch_interval",
    "fetch_timeout",
    "safety_interval",
    "heartbeat_interval",
    "heartbeat_timeout",
    "retry_interval",
    "isolated_start_timeout",
)
_NOT_NEGATIVE: Final = (
    "max_wait_tasks",
    "shutdown_timeout",
    "cancel_timeout",
    "abort_timeout",
    "isolated_tasks",
    "isolated_memory",
    "max_crashes",
    "cpu",
    "memory",
)
