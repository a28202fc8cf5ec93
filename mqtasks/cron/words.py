"""Cron expressions in words, by the library made for them."""

from __future__ import annotations

from typing import Final

from mqtasks.cron.schedule import ALIASES, CronSchedule

_UNITS: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def describe(schedule: CronSchedule) -> str:
    """Return what a schedule says, in English: ``At 02:30, only on Monday``.

    Of an expression that the library cannot put in words, the expression itself. Never raises.
    """
    if schedule.every_ms:
        return f"Every {_duration(schedule.every_ms // 1000)}"
    from cron_descriptor import ExpressionDescriptor, FormatError, Options

    options = Options()
    options.use_24hour_time_format = True
    text = ALIASES.get(schedule.expression.lower(), schedule.expression).upper()
    try:
        return str(ExpressionDescriptor(text, options).get_description())
    except (FormatError, ValueError, IndexError, KeyError):
        return schedule.expression


def _duration(seconds: int) -> str:
    parts = []
    for name, unit in _UNITS:
        count, seconds = divmod(seconds, unit)
        if count:
            parts.append(f"{count} {name}{'s' if count > 1 else ''}")
    return " ".join(parts)
