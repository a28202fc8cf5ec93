"""Firings in words and on the wall clock, with the nights on which clocks change."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mqtasks.cron import CronSchedule, describe, preview

DATE_LINE = "clocks go forward from 2011-12-30 00:00 to 2011-12-31 00:00"


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        ("30 2 * * *", "At 02:30"),
        ("0 30 2 * * *", "At 02:30"),
        ("*/10 * * * * *", "Every 10 seconds"),
        ("0 9 * * mon-fri", "At 09:00, Monday through Friday"),
        ("0 0 l * *", "At 00:00, on the last day of the month"),
        ("@daily", "At 00:00"),
        ("@Hourly", "Every hour"),
        ("@every 1h30m", "Every 1 hour 30 minutes"),
        ("@every 2d", "Every 2 days"),
    ],
)
def test_expressions_are_put_in_words(expr, words):
    assert describe(CronSchedule.parse(expr)) == words


def test_what_cannot_be_put_in_words_stands_for_itself(monkeypatch):
    import cron_descriptor

    def refuse(*_: object) -> None:
        raise cron_descriptor.FormatError("no words")

    monkeypatch.setattr(cron_descriptor.ExpressionDescriptor, "get_description", refuse)
    assert describe(CronSchedule.parse("1 2 3 4 *")) == "1 2 3 4 *"


@pytest.mark.parametrize(
    ("expr", "zone", "start", "noted"),
    [
        (
            "30 2 * * *",
            "Europe/Berlin",
            datetime(2026, 10, 24, tzinfo=UTC),
            ["", "clocks go back from 03:00 to 02:00; first 02:30", ""],
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            datetime(2026, 3, 28, tzinfo=UTC),
            ["", "clocks go forward from 02:00 to 03:00; first moment after the gap", ""],
        ),
        (
            "*/30 1 * * *",
            "America/New_York",
            datetime(2026, 11, 1, 4, tzinfo=UTC),
            [
                "clocks go back from 02:00 to 01:00; first 01:00",
                "clocks go back from 02:00 to 01:00; first 01:30",
                "clocks go back from 02:00 to 01:00; second 01:00",
                "clocks go back from 02:00 to 01:00; second 01:30",
                "",
            ],
        ),
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            datetime(2026, 4, 4, tzinfo=UTC),
            ["clocks go back from 02:00 to 01:30; first 01:45", ""],
        ),
        (
            "0 12 * * *",
            "Pacific/Apia",
            datetime(2011, 12, 30, tzinfo=UTC),
            [
                f"{DATE_LINE}; first moment after the gap",
                DATE_LINE,
                "",
            ],
        ),
        ("0 0 * * *", "UTC", datetime(2026, 3, 28, tzinfo=UTC), ["", ""]),
    ],
)
def test_nights_of_changing_clocks_are_marked(expr, zone, start, noted):
    schedule = CronSchedule.parse(expr, zone)
    found = preview(schedule, round(start.timestamp() * 1000), len(noted))
    assert [item.note for item in found] == noted
    assert [item.at_ms for item in found] == schedule.upcoming(
        round(start.timestamp() * 1000), len(noted)
    )
    assert all(item.local.timestamp() * 1000 == item.at_ms for item in found)
