"""Until when a runner may believe that it owns its tasks (P3)."""

from __future__ import annotations

from typing import Protocol


class LeaseTimes(Protocol):
    """The two durations of a lease, in seconds."""

    @property
    def heartbeat_interval(self) -> float:
        """Time between renewals."""
        ...

    @property
    def heartbeat_timeout(self) -> float:
        """Length of the lease."""
        ...


def trusted_until(sent_at: float, times: LeaseTimes) -> float:
    """Return until when a lease may be trusted whose renewal was *sent* at ``sent_at``.

    Both are monotonic seconds. The lease began at that moment at the earliest. The margin of two
    beats covers clocks that run at different speeds, and the time that a cancellation takes.
    """
    return sent_at + times.heartbeat_timeout - 2 * times.heartbeat_interval
