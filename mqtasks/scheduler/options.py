"""What can be set about a scheduler; each field checked when the options are made."""

from __future__ import annotations

from typing import Final, Self

import msgspec

from mqtasks.config import Settings
from mqtasks.errors import InvalidArgument

_DAY: Final = 86_400.0
_LONGEST: Final = 10 * 365 * _DAY
_MOST_ROWS: Final = 100_000
_STANDBY_POLL: Final = 0.5
_RESCUE_INTERVAL: Final = 1.0


class SchedulerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a `Scheduler`. Durations are seconds; raises InvalidArgument, naming the field."""

    leader_ttl: float = 5.0
    """How long leadership lasts without renewal; a standby takes over within it. 0.5 to 3600."""
    leader_renew: float = 1.5
    """How often the leader renews; at most a third of ``leader_ttl``, so two may fail."""
    standby_poll: float = _STANDBY_POLL
    """How often a standby looks whether it may lead; more than 0."""
    heartbeat_timeout: float = 15.0
    """What runners use: how long must pass without interruption before anybody is judged."""
    max_crashes: int = 3
    """A task whose process died more often than this while it ran ends FAILED; >= 0."""
    rescue_interval: float = _RESCUE_INTERVAL
    """How often leases are looked at; at most a third of ``heartbeat_timeout``."""
    forget_runners_after: float = _DAY
    """How long the row of a stopped runner is kept; generations count on meanwhile. >= 60."""
    allocate_batch: int = 2_000
    """Most tasks that one allocating transaction takes; 1 to 100,000."""
    ageing: float = 10.0
    """A task at the head of its lane gains one step of priority per this long; more than 0."""
    safety_poll: float = 10.0
    """How often to look for work while hints flow; more than 0."""
    fast_poll: float = 0.05
    """How often to look for work without hints, while there is some; at least 0.001."""
    slow_poll: float = 0.5
    """... and while there is none, or it waits for room; at least ``fast_poll``."""
    promote_batch: int = 1_000
    """Most due tasks turned CREATED in one transaction; 1 to 100,000."""
    promote_poll: float = 1.0
    """How often to ask when the next task is due, at least, and which deadlines are over; more
    than 0."""
    resolve_poll: float = 1.0
    """How often to ask whether any task waits for others, at least; more than 0."""
    resolve_batch: int = 500
    """Most parents looked at, and dependencies settled, in one transaction; 1 to 2,000."""
    cron_poll: float = 1.0
    """How often to ask when the next cron task is due, at least; more than 0."""
    retention_success: float = 7 * _DAY
    """How long rows that ended in SUCCESS are kept, unless their task says otherwise; >= 0."""
    retention_failure: float = 30 * _DAY
    """... and rows that ended FAILED or CANCELED; >= 0."""
    prune_interval: float = 60.0
    """Pause between two sweeps for rows past their retention; more than 0."""
    prune_batch: int = 500
    """Rows one sweep step looks at, in one transaction; 1 to 100,000."""
    stats_interval: float = 2.0
    """How often the leader publishes its snapshot for monitoring; more than 0."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the options that a process's settings ask for, defaults elsewhere."""
        return cls(
            leader_ttl=settings.leader_ttl,
            leader_renew=settings.leader_renew,
            standby_poll=min(_STANDBY_POLL, settings.leader_renew),
            heartbeat_timeout=settings.heartbeat_timeout,
            rescue_interval=min(_RESCUE_INTERVAL, settings.heartbeat_timeout / 10),
            max_crashes=settings.max_crashes,
            safety_poll=settings.safety_interval,
            retention_success=settings.retention_success,
            retention_failure=settings.retention_failure,
        )

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:  # also refuses NaN
                raise InvalidArgument(name, value, f"must be between {low:g} and {high:g}")
        if self.leader_renew > self.leader_ttl / 3:
            raise InvalidArgument(
                "leader_renew",
                self.leader_renew,
                f"must be at most a third of leader_ttl ({self.leader_ttl:g} s)",
            )
        if self.rescue_interval > self.heartbeat_timeout / 3:
            raise InvalidArgument(
                "rescue_interval",
                self.rescue_interval,
                f"must be at most a third of heartbeat_timeout ({self.heartbeat_timeout:g} s)",
            )
        if self.slow_poll < self.fast_poll:
            raise InvalidArgument(
                "slow_poll", self.slow_poll, f"must be at least fast_poll ({self.fast_poll:g} s)"
            )


_RANGES: Final[tuple[tuple[str, float, float], ...]] = (
    ("leader_ttl", 0.5, 3600.0),
    ("leader_renew", 0.01, 3600.0),
    ("standby_poll", 0.01, 3600.0),
    ("heartbeat_timeout", 0.1, _DAY),
    ("max_crashes", 0, 1_000_000),
    ("rescue_interval", 0.01, 3600.0),
    ("forget_runners_after", 60.0, _LONGEST),
    ("allocate_batch", 1, _MOST_ROWS),
    ("ageing", 0.001, _LONGEST),
    ("safety_poll", 0.01, 3600.0),
    ("fast_poll", 0.001, 3600.0),
    ("slow_poll", 0.001, 3600.0),
    ("promote_batch", 1, _MOST_ROWS),
    ("promote_poll", 0.01, 3600.0),
    ("resolve_poll", 0.01, 3600.0),
    ("resolve_batch", 1, 2_000),
    ("cron_poll", 0.01, 3600.0),
    ("retention_success", 0.0, _LONGEST),
    ("retention_failure", 0.0, _LONGEST),
    ("prune_interval", 0.01, _DAY),
    ("prune_batch", 1, _MOST_ROWS),
    ("stats_interval", 0.1, 3600.0),
)
