"""Misfire and overlap policies in all combinations, on every storage and a manual clock (P12)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mqtasks.errors import InvalidArgument
from mqtasks.model import (
    NEVER,
    CronPolicy,
    FiringKind,
    FiringState,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
)
from mqtasks.service import TaskService
from mqtasks.storage.contract import Renewal
from tests.support.stage import FAILURE

TEN_MINUTES = 600_000
RUNS, ENDED = "runs", "ended"
NOTHING: dict[str, list[int]] = {"fired": [], "skipped": [], "missed": [], "canceled": []}


def outcome(**parts: list[int]) -> dict[str, list[int]]:
    return NOTHING | parts


# Firing 0 has made a task, which runs or has ended. Firings 1 to 5 were due during an outage, the
# last one five minutes ago; under `all` at most three are made up for.
TABLE = {
    ("skip", "allow", RUNS): outcome(missed=[5]),
    ("skip", "skip", RUNS): outcome(missed=[5]),
    ("skip", "queue_one", RUNS): outcome(missed=[5]),
    ("skip", "cancel_running", RUNS): outcome(missed=[5]),
    ("skip", "allow", ENDED): outcome(missed=[5]),
    ("skip", "skip", ENDED): outcome(missed=[5]),
    ("skip", "queue_one", ENDED): outcome(missed=[5]),
    ("skip", "cancel_running", ENDED): outcome(missed=[5]),
    ("once", "allow", RUNS): outcome(fired=[5]),
    ("once", "skip", RUNS): outcome(skipped=[5]),
    ("once", "queue_one", RUNS): outcome(fired=[5]),
    ("once", "cancel_running", RUNS): outcome(fired=[5], canceled=[0]),
    ("once", "allow", ENDED): outcome(fired=[5]),
    ("once", "skip", ENDED): outcome(fired=[5]),
    ("once", "queue_one", ENDED): outcome(fired=[5]),
    ("once", "cancel_running", ENDED): outcome(fired=[5]),
    ("all", "allow", RUNS): outcome(fired=[3, 4, 5]),
    ("all", "skip", RUNS): outcome(skipped=[3, 4, 5]),
    ("all", "queue_one", RUNS): outcome(fired=[3], skipped=[4, 5]),
    ("all", "cancel_running", RUNS): outcome(fired=[5], skipped=[3, 4], canceled=[0]),
    ("all", "allow", ENDED): outcome(fired=[3, 4, 5]),
    ("all", "skip", ENDED): outcome(fired=[3], skipped=[4, 5]),
    ("all", "queue_one", ENDED): outcome(fired=[3, 4], skipped=[5]),
    ("all", "cancel_running", ENDED): outcome(fired=[5], skipped=[3, 4]),
}


class Site:
    """A definition that fires every ten minutes, and its runner."""

    def __init__(self, stage) -> None:
        self.stage = stage
        self.service = TaskService(stage.storage, clock=stage.clock)
        stage.storage.renew_runners([Renewal("r1", stage.register())], 10**9)
        self.first = 0

    def define(self, **policy) -> None:
        options = TaskOptions()
        metadata = TaskMetadata("c", "work", b"", options)
        self.service.create_cron_task(metadata, "*/10 * * * *", policy=CronPolicy(**policy))
        self.first = self.cron.next_time

    @property
    def cron(self):
        return self.service.storage.find_cron_task("c")

    def go_to(self, firing: float) -> None:
        at = self.first + round(firing * TEN_MINUTES)
        self.stage.clock.advance((at - self.stage.now) / 1000)
        self.service.trigger_due_cron()

    def records(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {"fired": [], "skipped": [], "missed": [], "canceled": []}
        for item in self.service.storage.cron_firings("c", 2000, FiringKind.SCHEDULED):
            number = (item.fire_time - self.first) // TEN_MINUTES
            found[FiringState(item.state).name.lower()].insert(0, number)
        return found

    def task(self, number: int):
        return self.service.storage.find([f"c:{number}"])[f"c:{number}"]

    def start(self, number: int):
        (started,) = self.stage.allocate([self.task(number).id])
        return started

    def end(self, number: int, result=None) -> None:
        self.stage.complete([self.start(number)], result)


@pytest.fixture
def site(stage):
    return Site(stage)


@pytest.mark.parametrize(("misfire", "overlap", "before"), TABLE)
def test_p12_m15_each_misfire_policy_with_each_overlap_policy(site, misfire, overlap, before):
    expected = TABLE[misfire, overlap, before]
    site.define(misfire=misfire, overlap=overlap, misfire_limit=3)
    site.go_to(0)
    first = site.start(1)
    if before == ENDED:
        site.stage.complete([first])
    site.go_to(5.5)
    found = site.records()
    found["fired"].remove(0)
    if site.task(1).status is TaskStatus.CANCEL_REQUESTED:
        found["canceled"] = [0]
    assert found == expected
    # Each has its task, numbered on, due when the schedule says; the row is at the next moment.
    made = [site.task(2 + n) for n in range(len(expected["fired"]))]
    due = [(task.run_at - site.first) / TEN_MINUTES for task in made]
    assert due == expected["fired"]
    assert len(site.service.query_task()) == 1 + len(made)
    assert site.cron.next_time == site.first + 6 * TEN_MINUTES
    assert site.cron.trigger_times == 1 + len(made)
    site.service.trigger_due_cron()
    assert len(site.service.query_task()) == 1 + len(made)


def test_m15_queue_one_lets_one_wait_for_the_one_that_runs(site):
    site.define(overlap="queue_one")
    for firing in range(4):
        site.go_to(firing)
    assert site.records() == outcome(fired=[0, 1], skipped=[2, 3])
    keys = {(t.metadata.options.concurrency_key, t.metadata.options.key_concurrency)
            for t in site.service.query_task()}  # fmt: skip
    assert keys == {(f"cron:{site.cron.id}", 1)}
    site.end(1)
    site.go_to(4)
    site.go_to(5)
    assert site.records()["fired"] == [0, 1, 4]


def test_m15_as_many_as_the_concurrency_run_before_firings_are_skipped(site):
    site.define(overlap="skip", concurrency=2)
    for firing in range(3):
        site.go_to(firing)
    site.end(1)
    site.go_to(3)
    assert site.records() == outcome(fired=[0, 1, 3], skipped=[2])


def test_m15_cancel_running_leaves_as_many_as_may_run_at_once(site):
    site.define(overlap="cancel_running", concurrency=2)
    site.go_to(0)
    site.start(1)
    for firing in (1, 2, 3):
        site.go_to(firing)
    statuses = [site.task(number).status for number in range(1, 5)]
    created, canceled = TaskStatus.CREATED, TaskStatus.CANCELED
    assert statuses == [TaskStatus.CANCEL_REQUESTED, canceled, created, created]


def test_m15_with_allow_the_concurrency_bounds_what_runs_and_the_rest_waits(site):
    site.define(concurrency=3)
    site.go_to(0)
    options = site.task(1).metadata.options
    assert (options.concurrency_key, options.key_concurrency) == (f"cron:{site.cron.id}", 3)
    keyed = TaskMetadata("d", "work", b"", TaskOptions(concurrency_key="mine"))
    for policy in (CronPolicy(concurrency=1), CronPolicy(overlap="queue_one")):
        with pytest.raises(InvalidArgument, match=r"concurrency_key.*leave it out"):
            site.service.create_cron_task(keyed, "@daily", policy=policy)
    assert site.service.create_cron_task(keyed, "@daily", policy=CronPolicy(overlap="skip"))


@pytest.mark.parametrize("misfire", ["skip", "once", "all"])
@pytest.mark.parametrize("overlap", ["skip", "queue_one", "cancel_running"])
def test_m15_what_is_on_time_is_no_misfire(site, misfire, overlap):
    site.define(misfire=misfire, overlap=overlap, misfire_window=0)
    for firing in (0, 1.05, 2):  # the second one is half a minute late
        site.go_to(firing)
        site.end(round(firing) + 1)
    assert site.records() == outcome(fired=[0, 1, 2])


def test_m15_what_is_older_than_the_window_is_missed_and_seen(site):
    site.define(misfire="all", misfire_window=1500)
    site.go_to(0)
    site.go_to(5.25)
    assert site.records() == outcome(fired=[0, 3, 4, 5])
    site.go_to(9.9)
    assert site.records()["fired"] == [0, 3, 4, 5, 8, 9]
    narrow = replace(site.cron, policy=CronPolicy(misfire="once", misfire_window=300))
    assert site.service.storage.edit_cron_task(narrow)
    site.go_to(12.75)
    assert site.records()["missed"] == [12]


def test_m15_more_than_a_transaction_takes_is_made_up_for_in_order(site):
    site.define(misfire="all", misfire_limit=1200, misfire_window=86_400.0 * 30)
    site.go_to(0)
    site.go_to(1500.5)
    assert site.records()["fired"] == [0, *range(301, 1501)]
    assert site.cron.trigger_times == 1201


def test_m15_nothing_fires_before_the_start_and_after_the_end(site):
    site.define()
    first = site.first
    bounds = {"start_at": first + TEN_MINUTES, "end_at": first + 2 * TEN_MINUTES}
    policy = CronPolicy(misfire="all", **bounds)
    site.service.create_cron_task(TaskMetadata("d", "work"), "*/10 * * * *", policy=policy)
    bounded = site.service.storage.find_cron_task("d")
    assert bounded.next_time == first + TEN_MINUTES
    for firing in (0, 1, 2, 3):
        site.go_to(firing)
    fired = site.service.storage.cron_firings("d", 10, FiringKind.SCHEDULED)
    assert [(item.fire_time - first) // TEN_MINUTES for item in fired] == [2, 1]
    assert site.service.storage.find_cron_task("d").next_time == NEVER
    # During an outage the end passes, too.
    later = CronPolicy(misfire="all", end_at=first + 5 * TEN_MINUTES + 1)
    site.service.create_cron_task(TaskMetadata("e", "work"), "*/10 * * * *", policy=later)
    site.go_to(7)
    fired = site.service.storage.cron_firings("e", 10, FiringKind.SCHEDULED)
    assert [(item.fire_time - first) // TEN_MINUTES for item in fired] == [5, 4]


def test_m15_jitter_spreads_tasks_and_is_the_same_for_all_schedulers(site):
    site.define(jitter=30)
    for firing in range(20):
        site.go_to(firing)
    late = [
        site.task(number).run_at - site.first - (number - 1) * TEN_MINUTES
        for number in range(1, 21)
    ]
    assert all(0 <= delay < 30_000 for delay in late)
    assert len(set(late)) == 20
    assert max(late) - min(late) > 10_000
    from mqtasks.cron.decide import jitter_ms

    assert late == [jitter_ms("c", site.first + n * TEN_MINUTES, 30) for n in range(20)]
    assert site.task(20).status is TaskStatus.SCHEDULED


def test_m15_so_many_failures_in_a_row_pause_the_definition(site):
    site.define(pause_after_failures=3)
    for firing in range(6):
        site.go_to(firing)
        site.end(firing + 1, None if firing == 2 else FAILURE)
    assert not site.cron.paused
    site.go_to(6)
    assert site.cron.paused
    assert site.cron.pause_reason == "its last 3 tasks failed; the last is c:6"
    assert site.cron.trigger_times == 6
    assert site.service.control.resume("cron", "c")
    assert not site.cron.pause_reason
    site.go_to(7)
    site.end(7, FAILURE)
    site.go_to(8)
    assert site.cron.trigger_times == 8, "only failures since the resume count"
