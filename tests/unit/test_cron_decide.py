"""Deciding on a due definition is pure, and its work is bounded whatever the outage was."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mqtasks.cron import CronSchedule
from mqtasks.cron.decide import Decision, Firing, decide, first_time, jitter_ms
from mqtasks.model import NEVER, CronPolicy, CronTask, FiringState, TaskMetadata

NOON = 1_700_049_600_000
YEAR = 365 * 86_400_000


class Counting:
    """A schedule that counts how often it is asked."""

    def __init__(self, expr: str) -> None:
        self._schedule = CronSchedule.parse(expr)
        self.asked = 0

    def next_after(self, ms: int) -> int:
        self.asked += 1
        return self._schedule.next_after(ms)


def cron(**policy) -> CronTask:
    return CronTask(
        metadata=TaskMetadata("c", "work"),
        cron_expr="unread",
        next_time=NOON,
        policy=CronPolicy(**policy),
    )


@pytest.mark.parametrize("misfire", ["skip", "once", "all"])
def test_a_firing_on_time_asks_the_schedule_once(misfire: str) -> None:
    schedule = Counting("* * * * *")
    found = decide(schedule, cron(misfire=misfire), NOON + 5, (), 500)
    assert found == Decision((Firing(NOON, FiringState.FIRED),), NOON + 60_000)
    assert schedule.asked == 1


@pytest.mark.parametrize(("misfire", "most"), [("skip", 10), ("once", 10), ("all", 500)])
def test_a_year_of_seconds_missed_asks_for_no_more_than_is_wanted(misfire: str, most: int) -> None:
    schedule = Counting("* * * * * *")
    policy = cron(misfire=misfire, misfire_limit=100, misfire_window=YEAR / 1000)
    found = decide(schedule, policy, NOON + YEAR, (), 500)
    assert found.next_time == NOON + YEAR + 1000
    assert [item.fire_time for item in found.firings] == [
        NOON + YEAR - 1000 * n for n in range(99 if misfire == "all" else 0, -1, -1)
    ]
    assert schedule.asked < most


def test_a_row_that_is_due_off_its_schedule_moves_on() -> None:
    found = decide(CronSchedule.parse("@yearly"), replace(cron(), next_time=1), NOON, (), 500)
    assert [item.state for item in found.firings] == [FiringState.MISSED]
    assert found.next_time == 1_704_067_200_000


def test_the_first_firing_respects_the_bounds() -> None:
    schedule = CronSchedule.parse("@hourly")
    hour = 3_600_000
    assert first_time(schedule, CronPolicy(), NOON) == NOON + hour
    assert first_time(schedule, CronPolicy(start_at=NOON + 5 * hour), NOON) == NOON + 5 * hour
    assert first_time(schedule, CronPolicy(end_at=NOON + hour - 1), NOON) == NEVER
    assert first_time(schedule, CronPolicy(end_at=NOON + hour), NOON) == NOON + hour


def test_jitter_differs_by_definition_and_moment() -> None:
    found = {jitter_ms(name, NOON + n, 10.0) for name in ("a", "b") for n in range(50)}
    assert len(found) > 95
    assert all(0 <= delay <= 10_000 for delay in found)
    assert jitter_ms("a", NOON, 0.0) == 0
