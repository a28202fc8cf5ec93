"""Rates: how many tasks may start per period, as a token bucket kept in whole microseconds."""

from __future__ import annotations

import math
import re
from typing import Final, Self

import msgspec

from mqtasks.errors import InvalidArgument

MOST_COUNT: Final = 1_000_000
LONGEST_PERIOD: Final = 366 * 86_400.0
_TEXT: Final = re.compile(r"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*(s|m|h|d)\s*(?:burst\s+(\d+)\s*)?\Z")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_BURST_SECONDS: Final = 0.2
"""The default burst is what comes in this time."""
_PICK_UP_SECONDS: Final = 0.1
"""Of two tasks one may take this much longer than the other from allocation to start."""


class RateLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most ``count`` starts per ``period`` seconds in the long run, and a few more at once.

    In any window of one second at most ``count / period + burst`` tasks start, as long as no task
    takes 0.1 s longer than another from its allocation to its start. Immutable.
    """

    count: int
    """Tasks per period, 1 to 1,000,000."""
    period: float = 1.0
    """Seconds, more than 0, at most 366 days."""
    burst: int = 0
    """How many may start beyond the steady rate; 0 = what comes in 0.2 s, at least 1."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rate that ``10/s``, ``100/m``, ``5/h``, ``1/30s`` or ``10/s burst 5`` means.

        The unit is s, m, h or d. Raises InvalidArgument.
        """
        found = _TEXT.match(str(text))
        if found is None:
            raise InvalidArgument(
                "rate_limit",
                text,
                "must be a RateLimit or text such as 10/s, 100/m, 5/h, 1/30s or 10/s burst 5",
            )
        period = float(found[2] or 1) * _SECONDS[found[3]]
        made = cls(int(found[1]), period, int(found[4] or 0))
        made.validate("rate_limit")
        return made

    @classmethod
    def of(cls, value: RateLimit | str) -> RateLimit:
        """Return a rate in its one form, or the one that a text means; raises InvalidArgument."""
        if not isinstance(value, RateLimit):
            return cls.parse(value)
        return cls(int(value.count), float(value.period), int(value.burst))

    def validate(self, field: str) -> None:
        """Raise InvalidArgument, naming ``field``, for the first part out of range."""
        for part in ("count", "period", "burst"):
            value = getattr(self, part)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidArgument(f"{field}.{part}", value, "must be a number")
        if self.count != int(self.count) or self.burst != int(self.burst):
            raise InvalidArgument(field, self, "count and burst must be whole numbers")
        if not 1 <= self.count <= MOST_COUNT:
            raise InvalidArgument(f"{field}.count", self.count, f"must be 1 to {MOST_COUNT}")
        if not 0 < self.period <= LONGEST_PERIOD:
            raise InvalidArgument(
                f"{field}.period", self.period, f"must be > 0 and <= {LONGEST_PERIOD:.0f} seconds"
            )
        if not 0 <= self.burst <= MOST_COUNT:
            raise InvalidArgument(f"{field}.burst", self.burst, f"must be 0 to {MOST_COUNT}")

    @property
    def per_second(self) -> float:
        """Tasks per second in the long run."""
        return self.count / self.period

    @property
    def cost_us(self) -> int:
        """Microseconds that one token takes to come; rounded up, so that no rate is exceeded."""
        return max(1, math.ceil(self.period * 1_000_000 / self.count))

    @property
    def most_burst(self) -> int:
        """The burst that holds: the one given, or the default."""
        return self.burst or max(1, math.ceil(self.per_second * _BURST_SECONDS))

    @property
    def capacity(self) -> int:
        """Tokens the bucket holds: the burst, less what a late pick-up may push into a second."""
        rate = self.per_second
        late = math.floor(rate * (1 + _PICK_UP_SECONDS)) - math.floor(rate)
        return max(1, self.most_burst - late)

    def tokens(self, used_until_us: int, now_us: int) -> int:
        """Return how many tokens are there now, 0 to `capacity`.

        ``used_until_us`` is the bucket: when it will be full again, in unix microseconds; 0 for
        one that was never used.
        """
        missing = max(0, used_until_us - now_us)
        return max(0, (self.capacity * self.cost_us - missing) // self.cost_us)

    def take(self, used_until_us: int, now_us: int, count: int) -> int:
        """Return the bucket after ``count`` tokens were taken.

        A bucket cannot lack more than it holds: what says so stems from a slower rate, or from a
        clock that was set back.
        """
        lacking = min(max(0, used_until_us - now_us), self.capacity * self.cost_us)
        return now_us + lacking + count * self.cost_us

    def next_token_us(self, used_until_us: int, now_us: int) -> int:
        """Return the microseconds until there is a token; 0 if there is one."""
        missing = min(max(0, used_until_us - now_us), self.capacity * self.cost_us)
        return max(0, missing - (self.capacity - 1) * self.cost_us)

    def __str__(self) -> str:
        """Return the rate as `parse` takes it."""
        burst = f" burst {self.burst}" if self.burst else ""
        for unit, seconds in reversed(_SECONDS.items()):
            if self.period == seconds:
                return f"{self.count}/{unit}{burst}"
        return f"{self.count}/{self.period:g}s{burst}"
