"""``mqtasks cron`` changes what it has added, while it runs."""

from __future__ import annotations

import json

import pytest

from mqtasks import MQTasks
from mqtasks.model import CronPolicy, CronTask, TaskMetadata


@pytest.fixture
def service(database):
    with MQTasks(database) as app:
        yield app.service


@pytest.fixture
def c(service):
    service.create_cron_task(TaskMetadata("c", 7, b"{}"), "30 2 * * *")
    return service.crons


def test_add_takes_a_policy(mqtasks, service):
    add = ("cron", "add", "c", "@hourly", "--executor", "7", "--misfire", "all", "--jitter", "2.5")
    assert mqtasks(*add, "--overlap", "queue_one", "--end-at", "2030-01-01T00:00").code == 0
    assert service.crons.get("c").policy == CronPolicy(
        misfire="all", jitter=2.5, overlap="queue_one", end_at=1_893_456_000_000
    )
    ran = mqtasks(*add)
    assert ran.code == 1
    assert "policy is " in ran.err


def test_edit(mqtasks, c):
    ran = mqtasks("cron", "edit", "c", "--cron", "@daily", "--timezone", "Asia/Tokyo")
    assert ran[:2] == (0, "cron task c edited, now version 1\n")
    ran = mqtasks("cron", "edit", "c", "--payload", "x", "--concurrency", "2", "-o", "json")
    (row,) = json.loads(ran.out)
    assert (row["cron"], row["timezone"], row["context"]) == ("@daily", "Asia/Tokyo", "x")
    assert (row["policy"]["concurrency"], row["version"]) == (2, 2)
    ran = mqtasks("cron", "edit", "c", "--version", "1", "--cron", "@hourly")
    assert (ran.code, "is not the stored version, 2" in ran.err) == (2, True)
    assert mqtasks("cron", "edit", "c").code == 2
    assert mqtasks("cron", "edit", "c", "--start-at", "noon").code == 2
    assert c.get("c").cron_expr == "@daily"


def test_pause_and_resume(mqtasks, c):
    assert mqtasks("cron", "pause", "c", "--reason", "why")[:2] == (0, "cron task c paused\n")
    assert mqtasks("cron", "pause", "c")[:2] == (1, "cron task c was paused before\n")
    assert json.loads(mqtasks("cron", "show", "c", "-o", "json").out)["pause_reason"] == "why"
    ran = mqtasks("cron", "resume", "c", "-o", "jsonl")
    assert (ran.code, json.loads(ran.out)) == (0, {"id": "c", "changed": True})
    assert mqtasks("cron", "resume", "c")[:2] == (1, "cron task c was not paused\n")


def test_trigger_and_show(mqtasks, c, service):
    ran = mqtasks("cron", "trigger", "c", "-o", "jsonl")
    task = json.loads(ran.out)["task"]
    assert task.startswith("c:manual:")
    assert [item.metadata.id for item in service.query_task()] == [task]
    shown = json.loads(mqtasks("cron", "show", "c", "-o", "json").out)
    (firing,) = shown["firings"]
    assert (firing["kind"], firing["state"], firing["task"]) == ("MANUAL", "FIRED", task)
    assert shown["policy"]["misfire"] == "once"
    assert "kind=MANUAL" in mqtasks("cron", "show", "c").out


def test_backfill(mqtasks, c, service):
    span = ("cron", "backfill", "c", "--since", "2026-05-01", "--until", "2026-05-03T12:00")
    ran = mqtasks(*span, "--dry-run")
    assert ran[:2] == (0, "3 firings would be made up for\n")
    assert service.query_task() == []
    assert mqtasks(*span)[:2] == (0, "3 of 3 firings made up for\n")
    again = json.loads(mqtasks(*span, "-o", "jsonl").out)
    assert again == {"id": "c", "moments": 0, "fired": 0, "dry_run": False}
    assert len(service.query_task()) == 3


@pytest.mark.parametrize("command", ["edit --cron @daily", "pause", "resume", "trigger", "show"])
def test_what_is_not_there_is_said(mqtasks, service, command):
    name, *rest = command.split()
    ran = mqtasks("cron", name, "unknown", *rest)
    assert ran.code == 1
    assert "'unknown'" in ran.err


def test_sync(mqtasks, service, tmp_path):
    module = tmp_path / "declaring.py"
    module.write_text(
        "from mqtasks import MQTasks\n"
        "app = MQTasks()\n"
        "@app.cron('@daily', id='nightly')\n"
        "@app.task\n"
        "def report(): ...\n"
    )
    stale = CronTask(metadata=TaskMetadata("stale", "report"), cron_expr="@daily", app="declaring")
    service.crons.add(stale)
    sync = ("cron", "sync", "declaring:app")
    ran = mqtasks(*sync, "--dry-run")
    assert ran[:2] == (0, "cron task nightly: added\ncron task stale: declared no more\n")
    assert [cron.metadata.id for cron in service.query_cron_task()] == ["stale"]
    rows = json.loads(mqtasks(*sync, "-o", "json").out)
    assert [(row["id"], row["is"]) for row in rows] == [
        ("nightly", "added"),
        ("stale", "declared no more"),
    ]
    ran = mqtasks(*sync, "--remove")
    assert ran[:2] == (0, "cron task nightly: unchanged\ncron task stale: removed\n")
    assert [cron.app for cron in service.query_cron_task()] == ["declaring"]
