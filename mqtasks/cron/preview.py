"""The next firings as people read them: on the wall clock, with what a change of it does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from mqtasks.cron.schedule import CronSchedule

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ClockChange:
    """A change of a zone's offset to UTC on the wall-clock day of a firing."""

    at_ms: int
    """When it happens: the first moment with the new offset. Unix ms."""
    seconds: int
    """How far clocks are moved: positive is forward, as in spring."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One firing. Times: unix milliseconds, UTC."""

    at_ms: int
    local: datetime
    """On the wall clock of the schedule's zone; aware."""
    change: ClockChange | None
    """The change of clocks on that day, if there is one."""

    @property
    def note(self) -> str:
        """What there is to know about the day: the change of clocks, in words. Else empty."""
        change = self.change
        if change is None:
            return ""
        after = datetime.fromtimestamp(change.at_ms / 1000, self.local.tzinfo)
        before = after.replace(tzinfo=None) - timedelta(seconds=change.seconds)
        way = "forward" if change.seconds > 0 else "back"
        # A zone that changes sides of the date line skips or repeats a whole day.
        form = "%H:%M" if before.date() == after.date() else "%Y-%m-%d %H:%M"
        said = f"clocks go {way} from {before:{form}} to {after:{form}}"
        if self.at_ms == change.at_ms and change.seconds > 0:
            return f"{said}; first moment after the gap"
        if _is_shown_twice(self.local):
            return f"{said}; {'second' if self.local.fold else 'first'} {self.local:%H:%M}"
        return said


def preview(schedule: CronSchedule, after_ms: int, count: int) -> list[Occurrence]:
    """Return the next ``count`` firings after ``after_ms`` (unix ms). Raises as ``upcoming``."""
    zone = ZoneInfo(schedule.timezone)
    found: list[Occurrence] = []
    for at in schedule.upcoming(after_ms, count):
        local = datetime.fromtimestamp(at / 1000, zone)
        found.append(Occurrence(at, local, _change_on(local)))
    return found


def _change_on(local: datetime) -> ClockChange | None:
    """Return the change of the offset between the midnights around ``local``, if any."""
    # Around midnight itself a change may be exactly there: a second of the day before counts.
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    low = int(midnight.timestamp()) - 1
    high = int((midnight + _DAY).timestamp()) - 1
    zone = local.tzinfo

    def offset(second: int) -> int:
        shift = datetime.fromtimestamp(second, zone).utcoffset()
        return int(shift.total_seconds()) if shift is not None else 0

    before, after = offset(low), offset(high)
    if before == after:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if offset(middle) == before:
            low = middle
        else:
            high = middle
    return ClockChange(high * 1000, after - before)


def _is_shown_twice(local: datetime) -> bool:
    first, second = local.replace(fold=0), local.replace(fold=1)
    return first.utcoffset() != second.utcoffset() and first.timestamp() < second.timestamp()
