"""Cron expressions: parse one, and say when it fires next. Pure: no clock is read here.

Daylight saving time. An expression that names fixed times (``30 2 * * *``) fires once per
wall-clock time: an hour that is skipped in spring fires once, at the first valid moment after the
gap, and an hour that is repeated in autumn fires in its first pass only. An expression that says
"every" (a ``*`` in the second, minute or hour field) follows real time instead: it is silent in a
gap, and goes on through both passes of a repeated hour.
"""

from __future__ import annotations

import copy
import difflib
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, available_timezones

from mqtasks.errors import InvalidCron

if TYPE_CHECKING:
    from croniter import croniter

ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_EVERY: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?\Z")
_LONGEST_EVERY: Final = 3_650 * 86_400
_RANDOM: Final = re.compile(r"(?<![a-z])[hr](?![a-z])")
_ONE_VALUE_RANGE: Final = re.compile(r"(\w+)-\1(?:/\d+)?\Z")
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - wall times are naive in this module
_SECOND: Final = timedelta(seconds=1)
_SAMPLE_START: Final = datetime(2000, 1, 1)  # noqa: DTZ001
_FARTHEST_MS: Final = 7_258_118_400_000
"""The year 2200; croniter looks 50 years ahead, and datetime must still hold that."""
_WITH_SECONDS: Final = 6
_WITHOUT_SECONDS: Final = 5
_REMEDY: Final = (
    "use 5 fields (minute hour day month weekday), 6 with seconds first, a name such as @daily,"
    " or @every 90s"
)


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """When a cron expression fires. Make one with `parse`; immutable, safe in many threads."""

    expression: str
    """The expression as it was given, outer blanks removed."""
    timezone: str
    """IANA name of the zone whose wall clock the expression speaks of."""
    _every_ms: int = field(default=0, repr=False, compare=False)
    _matcher: croniter | None = field(default=None, repr=False, compare=False)
    _zone: ZoneInfo | None = field(default=None, repr=False, compare=False)
    _fixed_times: bool = field(default=True, repr=False, compare=False)

    @classmethod
    def parse(cls, expr: str, timezone: str = "UTC") -> CronSchedule:
        """Parse ``expr`` for the wall clock of ``timezone`` (an IANA name).

        Five fields are minute, hour, day of month, month, day of week (0 and 7 are Sunday); with
        six, the first is seconds. Names such as ``mon`` and ``jan``, ``L`` (last), ``2#1`` (first
        Tuesday) and ``15W`` (nearest weekday) work. If both day fields are restricted, one match
        is enough. ``@every 1h30m`` (units d, h, m, s; 1 s to 3,650 days) fires at each multiple of
        the interval since 1970-01-01 UTC, so that every scheduler agrees and nothing drifts.

        Raises InvalidCron for anything else, for a date that never comes, and an unknown zone.
        """
        if not isinstance(expr, str):
            raise InvalidCron("cron expression", expr, "must be text")
        text = expr.strip()
        zone = _load_zone(timezone)
        if text[:6].lower() == "@every":
            return cls(text, timezone, _every_ms=_parse_every(expr, text[6:].strip()))
        fields = _split(expr, text)
        return cls(
            text,
            timezone,
            _matcher=_build_matcher(expr, fields),
            _zone=None if timezone == "UTC" else zone,
            # The reference point is the text: `*/5 2 * * *` is "every 5 minutes", not a list.
            _fixed_times=not any(item.startswith("*") for item in fields[:3]),
        )

    def next_after(self, ms: int) -> int:
        """Return the first firing strictly later than ``ms``. Both are unix milliseconds, UTC.

        Raises InvalidCron if ``ms`` is past the year 2200, or nothing fires in the 50 years after.
        """
        if self._every_ms:
            return (ms // self._every_ms + 1) * self._every_ms
        if not -_FARTHEST_MS < ms < _FARTHEST_MS:
            raise InvalidCron("moment", ms, "must be unix milliseconds before the year 2200")
        second = ms // 1000
        if self._zone is None:
            return _seconds(self._next_wall(_EPOCH + timedelta(seconds=second))) * 1000
        local = datetime.fromtimestamp(second, self._zone)
        found = self._next_fixed(local) if self._fixed_times else self._next_recurring(local)
        return found * 1000

    @property
    def every_ms(self) -> int:
        """The interval of ``@every`` in milliseconds; 0 if it is a cron expression."""
        return self._every_ms

    def upcoming(self, ms: int, n: int) -> list[int]:
        """Return the next ``n`` firings after ``ms``, in order, as unix milliseconds."""
        firings: list[int] = []
        for _ in range(n):
            ms = self.next_after(ms)
            firings.append(ms)
        return firings

    def _next_wall(self, wall: datetime) -> datetime:
        """Return the first match after ``wall``, on a wall clock that knows no zone."""
        from croniter.croniter import CroniterBadDateError

        cursor = copy.copy(self._matcher)  # the shared one stays as it is: many threads ask
        assert cursor is not None  # noqa: S101 - `@every` never comes here
        try:
            found: datetime = cursor.get_next(datetime, start_time=wall)
        except CroniterBadDateError:
            raise InvalidCron("cron expression", self.expression, "never fires again") from None
        return found

    def _next_fixed(self, local: datetime) -> int:
        """Return the next firing of fixed times: each wall-clock time once."""
        now, wall = int(local.timestamp()), local.replace(tzinfo=None, fold=0)
        while True:
            wall = self._next_wall(wall)
            at = self._first_pass(wall)
            if at > now:  # in a second pass, times of the first one have already fired
                return at

    def _next_recurring(self, local: datetime) -> int:
        """Return the next firing of an "every" expression: real time decides."""
        now, wall = int(local.timestamp()), local.replace(tzinfo=None, fold=0)
        found = self._next_existing(wall, now)
        first, second = self._instant(wall, 0), self._instant(wall, 1)
        if now == first < second and found >= self._fold_end(wall):
            # The first pass has no match left. Is there one in the second, which starts earlier
            # on the wall clock than where the search above began?
            again = wall - timedelta(seconds=second - first) - _SECOND
            while (again := self._next_wall(again)) <= wall:
                if (at := self._instant(again, 1)) > now and self._instant(again, 0) < at:
                    return min(at, found)
        return found

    def _next_existing(self, wall: datetime, now: int) -> int:
        """Return the first real moment after ``now`` whose wall time matches, from ``wall`` on."""
        while True:
            wall = self._next_wall(wall)
            first, second = self._instant(wall, 0), self._instant(wall, 1)
            if second < first:  # skipped by the clock: go on at the far side of the gap
                wall = self._wall_at(self._gap_end(wall)) - _SECOND
            elif first > now:
                return first
            elif second > now:
                return second

    def _first_pass(self, wall: datetime) -> int:
        """Return when the clock first shows ``wall``, or where the gap ends that swallows it."""
        first, second = self._instant(wall, 0), self._instant(wall, 1)
        return self._gap_end(wall) if second < first else first

    def _gap_end(self, wall: datetime) -> int:
        """Return the unix second at which the gap around ``wall`` ends."""
        # PEP 495: for a skipped time, fold=1 counts with the offset after the gap and lands before
        # it; fold=0 the other way round. The change is between the two.
        before, after = self._instant(wall, 1), self._instant(wall, 0)
        return self._change_between(before, after)

    def _fold_end(self, wall: datetime) -> int:
        """Return the unix second at which the second pass of repeated ``wall`` begins."""
        return self._change_between(self._instant(wall, 0), self._instant(wall, 1))

    def _change_between(self, low: int, high: int) -> int:
        """Return the first second in (low, high] that has the UTC offset of ``high``."""
        offset = self._offset(high)
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(middle) == offset:
                high = middle
            else:
                low = middle
        return high

    def _instant(self, wall: datetime, fold: int) -> int:
        return int(wall.replace(tzinfo=self._zone, fold=fold).timestamp())

    def _wall_at(self, second: int) -> datetime:
        return datetime.fromtimestamp(second, self._zone).replace(tzinfo=None, fold=0)

    def _offset(self, second: int) -> timedelta | None:
        return datetime.fromtimestamp(second, self._zone).utcoffset()


def _seconds(wall: datetime) -> int:
    return (wall - _EPOCH) // _SECOND


def _load_zone(name: Any) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, TypeError, OSError):  # OSError: a folder, such as "Europe"
        pass
    known = available_timezones()
    near = difflib.get_close_matches(str(name), known, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else "use an IANA name such as Europe/Berlin"
    if not known:
        remedy = "no time zones are installed here: pip install tzdata"
    raise InvalidCron("timezone", name, remedy)


def _parse_every(expr: str, text: str) -> int:
    """Return the interval in milliseconds."""
    found = _EVERY.match(text.lower()) if text else None
    if found is None:
        raise InvalidCron("cron expression", expr, "write the interval as in @every 1h30m or 90s")
    seconds = sum(
        int(number) * unit
        for number, unit in zip(found.groups(), _UNITS.values(), strict=True)
        if number
    )
    if not 1 <= seconds <= _LONGEST_EVERY:
        raise InvalidCron("cron expression", expr, "the interval must be 1s to 3650d")
    return seconds * 1000


def _split(expr: str, text: str) -> list[str]:
    """Return six fields, seconds first, in the lower-case form that croniter reads as meant."""
    lowered = text.lower()
    if lowered.startswith(("tz=", "cron_tz=")):
        raise InvalidCron("cron expression", expr, "give the time zone as timezone=..., not in it")
    if lowered.startswith("@"):
        if lowered not in ALIASES:
            raise InvalidCron("cron expression", expr, f"known names: {', '.join(ALIASES)}")
        lowered = ALIASES[lowered]
    fields = lowered.split()
    if len(fields) == _WITHOUT_SECONDS:
        fields.insert(0, "0")
    if len(fields) != _WITH_SECONDS:
        raise InvalidCron("cron expression", expr, f"has {len(fields)} fields: {_REMEDY}")
    if any(_RANDOM.search(item) for item in fields):
        # `R` would draw anew in every process, and schedulers would disagree.
        raise InvalidCron("cron expression", expr, "H and R are not supported; write the value")
    return [_plain(item) for item in fields]


def _plain(item: str) -> str:
    """Respell what croniter reads otherwise than cron does: ``5-5`` as 5, ``*/1`` as every."""
    return ",".join(
        "*" if part == "*/1" else _ONE_VALUE_RANGE.sub(r"\1", part) for part in item.split(",")
    )


def _build_matcher(expr: str, fields: list[str]) -> croniter:
    from croniter.croniter import CroniterBadDateError, CroniterError, croniter

    seconds, *rest = fields
    try:
        matcher = croniter(" ".join([*rest, seconds]), _SAMPLE_START)
        copy.copy(matcher).get_next(datetime)
    except CroniterBadDateError:
        raise InvalidCron("cron expression", expr, "never fires: no such date exists") from None
    # Which exception a malformed field ends in differs between releases of croniter.
    except (CroniterError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidCron("cron expression", expr, f"{_REMEDY} ({error})") from error
    return matcher
