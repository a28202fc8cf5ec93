"""``mqtasks cron preview``: no database, words and times, and clear refusals."""

from __future__ import annotations

import json


def test_firings_are_shown_in_words_and_times(mqtasks):
    ran = mqtasks(
        *("cron", "preview", "30 2 * * *", "--tz", "Europe/Berlin", "--count", "2"),
        *("--after", "2026-10-24T12:00+02:00"),
    )
    assert ran.code == 0
    assert ran.out == (
        "At 02:30 (Europe/Berlin)\n\n"
        "UTC                       LOCAL                          NOTE\n"
        "Sun 2026-10-25 00:30:00Z  Sun 2026-10-25 02:30:00 +0200"
        "  clocks go back from 03:00 to 02:00; first 02:30\n"
        "Mon 2026-10-26 01:30:00Z  Mon 2026-10-26 02:30:00 +0100  -\n"
    )


def test_programs_get_unix_times(mqtasks):
    ran = mqtasks(
        "cron", "preview", "@daily", "--after", "1970-01-01", "--count", "1", "-o", "json"
    )
    (row,) = json.loads(ran.out)
    assert (row["fire_at"], row["note"]) == (86_400_000, "")


def test_without_a_time_it_begins_now(mqtasks):
    ran = mqtasks("cron", "preview", "* * * * * *", "-o", "jsonl", "--count", "3")
    times = [json.loads(line)["fire_at"] for line in ran.out.splitlines()]
    assert [at - times[0] for at in times] == [0, 1000, 2000]


def test_bad_input_is_refused(mqtasks):
    ran = mqtasks("cron", "preview", "61 * * * *")
    assert (ran.code, "cron expression='61 * * * *'" in ran.err) == (2, True)
    ran = mqtasks("cron", "preview", "@daily", "--after", "tomorrow")
    assert (ran.code, "--after='tomorrow': write the time as" in ran.err) == (2, True)
    ran = mqtasks("cron", "preview", "@daily", "--tz", "Mars/Olympus")
    assert (ran.code, "Mars/Olympus" in ran.err) == (2, True)
