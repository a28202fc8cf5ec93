"""What ``mqtasks cron preview`` prints."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import click

from mqtasks.cli.output import print_rows
from mqtasks.clock import SystemClock
from mqtasks.cron import CronSchedule, describe, preview

_COLUMNS: Final = ("utc", "local", "note")


def print_preview(
    expression: str, timezone: str, count: int, after: str | None, output: str
) -> None:
    """Print the next ``count`` firings after the time ``after`` (ISO 8601; None is now).

    Raises InvalidCron, and UsageError of a time that cannot be read.
    """
    schedule = CronSchedule.parse(expression, timezone)
    start = SystemClock().now_ms() if after is None else _moment(after)
    rows = [
        {
            "utc": f"{datetime.fromtimestamp(item.at_ms / 1000, UTC):%a %Y-%m-%d %H:%M:%S}Z",
            "local": f"{item.local:%a %Y-%m-%d %H:%M:%S %z}",
            "note": item.note,
            "fire_at": item.at_ms,
        }
        for item in preview(schedule, start, count)
    ]
    if output == "table":
        click.echo(f"{describe(schedule)} ({timezone})\n")
    noted = any(row["note"] for row in rows)
    print_rows(rows, _COLUMNS if noted else _COLUMNS[:-1], output, "it never fires")


def _moment(text: str) -> int:
    """Return an ISO 8601 time in unix ms; one without an offset is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(
            f"--after={text!r}: write the time as 2026-10-24T12:00 or 2026-10-24T12:00+02:00"
        ) from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
