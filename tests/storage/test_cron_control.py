"""Cron tasks are changed, triggered and backfilled while they run, on every storage (P12)."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from pymysql.connections import Connection

from mqtasks.errors import CronNotFound, InvalidArgument, InvalidCron, PayloadTooLarge
from mqtasks.model import (
    CronPolicy,
    CronTask,
    FiringKind,
    FiringState,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
)
from mqtasks.service import TaskService
from mqtasks.service.cron_trigger import POLL_SECONDS
from mqtasks.service.crons import Backfill
from mqtasks.storage.mysql import MySQLTaskStorage

MINUTE = 60_000
LONG = os.environ.get("MQTASKS_TEST_LONG") == "1"


@pytest.fixture
def service(storage, clock):
    return TaskService(storage, clock=clock)


@pytest.fixture
def crons(service):
    assert service.crons.create(TaskMetadata("c", "work"), "* * * * *", misfire="all")
    return service.crons


def test_an_edit_changes_what_is_given_and_computes_the_next_firing(crons, clock):
    before = crons.get("c")
    assert crons.edit("c", context=b"new", overlap="skip").next_time == before.next_time
    edited = crons.edit(
        "c", cron_expr="30 2 * * *", timezone="Europe/Berlin", options=TaskOptions(priority=3),
        executor="other", end_at=datetime(2030, 1, 1, tzinfo=UTC), jitter=timedelta(minutes=1),
    )  # fmt: skip
    assert edited == crons.get("c")
    assert edited.metadata == TaskMetadata("c", "other", b"new", TaskOptions(priority=3))
    assert edited.policy == CronPolicy(
        misfire="all", overlap="skip", jitter=60.0, end_at=1_893_456_000_000
    )
    assert edited.next_time == 1_700_011_800_000  # 02:30 in Berlin, the night after
    assert edited.version == 2


def test_an_edit_for_an_older_version_overwrites_nothing(crons):
    read = crons.get("c")
    crons.edit("c", version=read.version, cron_expr="@hourly")
    with pytest.raises(InvalidArgument, match="is not the stored version, 1: look at it again"):
        crons.edit("c", version=read.version, cron_expr="@daily")
    assert crons.get("c").cron_expr == "@hourly"


def test_what_cannot_be_is_refused_and_leaves_the_row_alone(service, crons):
    before = crons.get("c")
    for error, changes in (
        (InvalidCron, {"cron_expr": "61 * * * *"}),
        (InvalidCron, {"timezone": "Mars/Olympus"}),
        (InvalidArgument, {"overlap": "never"}),
        (InvalidArgument, {"start_at": datetime(2030, 1, 1)}),  # noqa: DTZ001 - that is the point
        (InvalidArgument, {"options": TaskOptions(timeout=-1)}),
        (PayloadTooLarge, {"context": bytes(service.max_payload_bytes + 1)}),
    ):
        with pytest.raises(error):
            crons.edit("c", **changes)
    assert crons.get("c") == before
    for call in (crons.get, crons.edit, crons.pause, crons.resume, crons.trigger, crons.firings):
        with pytest.raises(CronNotFound, match="'unknown' is not stored"):
            call("unknown")
    assert not crons.delete("unknown")


def test_p12_triggered_by_hand_it_makes_a_task_beside_the_schedule(crons, service, clock):
    before = crons.get("c")
    crons.pause("c", "holidays")
    assert crons.get("c").pause_reason == "holidays"
    names = [crons.trigger("c") for _ in range(3)]
    now = clock.now_ms()
    assert names == [f"c:manual:{now + n}" for n in range(3)]
    tasks = service.storage.find(names)
    assert [task.status for task in tasks.values()] == [TaskStatus.CREATED] * 3
    assert (crons.get("c").trigger_times, crons.get("c").next_time) == (0, before.next_time)
    assert [item.kind for item in crons.firings("c")] == [FiringKind.MANUAL] * 3
    crons.resume("c")
    clock.advance(60)
    service.trigger_due_cron()
    assert crons.firings("c", 1)[0].task == "c:1"


def test_p12_a_manual_task_that_runs_holds_the_schedule_back(crons, service, clock):
    crons.edit("c", overlap="skip")
    crons.trigger("c")
    clock.advance(60)
    service.trigger_due_cron()
    assert crons.firings("c", 1)[0].state is FiringState.SKIPPED


def test_p12_everybody_who_triggers_at_once_gets_a_task_of_his_own(crons, service):
    together = threading.Barrier(4)
    names: list[str] = []

    def trigger() -> None:
        together.wait(30)
        names.append(crons.trigger("c"))

    threads = [threading.Thread(target=trigger) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == len(service.storage.find(names)) == 4


def test_p12_a_backfill_makes_each_moment_of_a_range_once(crons, service, clock):
    first = crons.get("c").next_time
    for _ in range(2):
        clock.advance(60)
        service.trigger_due_cron()
    crons.pause("c")
    clock.advance(600)
    until = first + 5 * MINUTE
    moments = tuple(first + n * MINUTE for n in range(2, 6))
    dry = crons.backfill("c", first, until, dry_run=True)
    assert dry == Backfill(moments, 0)
    assert len(service.query_task()) == 2
    since = datetime.fromtimestamp(first / 1000, UTC)
    assert crons.backfill("c", since, until) == Backfill(moments, 4)
    assert crons.backfill("c", first, until) == Backfill((), 0)
    wider = crons.backfill("c", first - 2 * MINUTE, until)
    assert wider.moments == (first - 2 * MINUTE, first - MINUTE)
    tasks = service.storage.find([f"c:backfill:{at}" for at in moments])
    assert [(t.run_at, t.status) for t in tasks.values()] == [
        (at, TaskStatus.CREATED) for at in moments
    ]
    assert crons.get("c").trigger_times == 2


def test_a_backfill_of_too_much_or_of_the_future_is_refused(crons, clock):
    now = clock.now_ms()
    with pytest.raises(InvalidArgument, match="more than 10000 moments: ask for it in parts"):
        crons.backfill("c", now - 20_000 * MINUTE, now)
    with pytest.raises(InvalidArgument, match="is in the future"):
        crons.backfill("c", now, now + 1)
    with pytest.raises(InvalidArgument, match="must not be after until"):
        crons.backfill("c", now, now - 1)


def test_every_change_is_told_after_it_is_stored(service, crons):
    """Whoever hears the hint finds the change."""
    seen: queue.Queue[tuple[bool, int]] = queue.Queue()

    def look(*_) -> None:
        found = service.storage.find_cron_task("c")
        seen.put((found is None or found.paused, -1 if found is None else found.version))

    service.notifier.subscribe([service.keys.cron], look)
    for change, expected in (
        (lambda: crons.edit("c", jitter=1), (False, 1)),
        (lambda: crons.pause("c"), (True, 2)),
        (lambda: crons.resume("c"), (False, 3)),
        (lambda: crons.delete("c"), (True, -1)),
        (lambda: crons.create(TaskMetadata("c", "work"), "* * * * *"), (False, 4)),
    ):
        change()
        while seen.get(timeout=10) != expected:  # the hint of the change before may come late
            pass


def test_a_scheduler_hears_of_a_change_by_the_hint(mysql_url, monkeypatch):
    monkeypatch.setattr("mqtasks.service.cron_trigger.POLL_SECONDS", 3600.0)
    with TaskService(MySQLTaskStorage(mysql_url)) as service:
        service.crons.create(TaskMetadata("c", "work"), "0 0 1 1 *")
        fired = threading.Event()
        service.notifier.subscribe([service.keys.created], lambda *_: fired.set())
        service.start_schedule_cron_task()
        service.crons.edit("c", cron_expr="* * * * * *")
        assert fired.wait(10)
        service.stop_schedule_cron_task()
        assert service.crons.get("c").trigger_times >= 1


def test_a_scheduler_sees_a_change_without_a_hint_by_polling(mysql_url, monkeypatch):
    assert POLL_SECONDS <= 3
    monkeypatch.setattr("mqtasks.service.cron_trigger.POLL_SECONDS", 0.05)
    with TaskService(MySQLTaskStorage(mysql_url)) as service:
        service.crons.create(TaskMetadata("c", "work"), "0 0 1 1 *")
        fired = threading.Event()
        service.notifier.subscribe([service.keys.created], lambda *_: fired.set())
        service.start_schedule_cron_task()
        cron = service.crons.get("c")
        now = service.storage.now_ms()
        assert service.storage.edit_cron_task(replace(cron, cron_expr="* * * * *", next_time=now))
        assert fired.wait(10)
        service.stop_schedule_cron_task()


def test_a_look_at_many_definitions_is_one_statement_over_the_index(
    mysql_url, mariadb, monkeypatch
):
    with TaskService(MySQLTaskStorage(mysql_url)) as service:
        service.storage.add_cron_task(
            *(
                CronTask(
                    metadata=TaskMetadata(f"c{n}", "work"),
                    cron_expr="* * * * *",
                    next_time=service.storage.now_ms() + 10**9,
                )
                for n in range(10_000 if LONG else 1500)
            )
        )
        sent: list[str] = []
        query = Connection.query

        def counting(self, sql, *arguments, **options):
            sent.append(sql)
            return query(self, sql, *arguments, **options)

        monkeypatch.setattr(Connection, "query", counting)
        assert service.trigger_due_cron() == pytest.approx(10**6, rel=0.01)
        (only,) = sent
        monkeypatch.undo()
        client = mariadb.client(mysql_url.rsplit("/", 1)[1])
        with contextlib.closing(client), client.cursor() as cursor:
            cursor.execute(f"EXPLAIN {only}")
            names = [item[0] for item in cursor.description]
            (plan,) = (dict(zip(names, row, strict=True)) for row in cursor.fetchall())
        assert plan["key"] == "mqtasks_cron_task_due"
        assert "Using index" in plan["Extra"]
        assert "filesort" not in plan["Extra"]
        assert service.storage.due_cron(10) == []


def test_a_boundary_with_many_due_definitions_is_a_few_statements_for_each_five_hundred(
    mysql_url, mariadb, monkeypatch
):
    count = 10_000 if LONG else 1500
    with TaskService(MySQLTaskStorage(mysql_url)) as service:
        now = service.storage.now_ms() // MINUTE * MINUTE
        service.storage.add_cron_task(
            *(
                CronTask(
                    metadata=TaskMetadata(f"c{n}", "work"), cron_expr="* * * * *", next_time=now,
                    policy=CronPolicy(overlap="skip" if n % 2 else "allow"),
                )
                for n in range(count)
            )
        )  # fmt: skip
        sent: list[str] = []
        query = Connection.query

        def counting(self, sql, *arguments, **options):
            sent.append(sql)
            return query(self, sql, *arguments, **options)

        monkeypatch.setattr(Connection, "query", counting)
        began = time.monotonic()
        service.trigger_due_cron()
        took = time.monotonic() - began
        monkeypatch.undo()
        assert {cron.trigger_times for cron in service.query_cron_task()} == {1}
        # A look, what is due, earlier firings (2), the time, and the trigger's own seven.
        assert len(sent) <= 12 * (count // 500) + 1
        if LONG:
            assert took < 5 * 2.0  # two seconds on an idle machine
        client = mariadb.client(mysql_url.rsplit("/", 1)[1])
        with contextlib.closing(client), client.cursor() as cursor:
            for sql in (item for item in sent if item.startswith("SELECT") and "mqtasks" in item):
                cursor.execute(f"EXPLAIN {sql}")
                names = [item[0] for item in cursor.description]
                plans = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
                assert not [plan for plan in plans if "filesort" in (plan["Extra"] or "")], sql
                if "mqtasks_cron_policy" in sql:
                    assert [plan["key"] for plan in plans] == ["mqtasks_cron_task_due", "PRIMARY"]


def test_a_reason_may_be_longer_than_an_id_but_is_text(crons):
    crons.pause("c", "because " * 100)
    assert crons.get("c").pause_reason == "because " * 100
    for bad in ("x" * 1001, "lone \ud800"):
        crons.resume("c")
        with pytest.raises(InvalidArgument, match="pause_reason"):
            crons.pause("c", bad)
