"""Pausing, editing and acting on many, from the command line."""

from __future__ import annotations

import io
import json

import pytest

from mqtasks.app import MQTasks
from mqtasks.model import ExecuteResult, ResultCode, TaskMetadata, TaskStatus
from mqtasks.storage.contract import Completion

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def service(database):
    with MQTasks(database) as app:
        yield app.service


def fail(service, *names, executor="work"):
    for name in names:
        task = service.get(service.create(TaskMetadata(name, executor)))
        task = service.allocate(task, "r1")
        result = ExecuteResult(ResultCode.FAILED, "broken")
        service.storage.complete_many("r1", [Completion(task.id, task.epoch, result)])


# -- pausing ---------------------------------------------------------------------------------------


def test_s4_pause_and_resume_by_the_names_people_use(mqtasks, service):
    ran = mqtasks("pause", "executor", "7", "--reason", "bad release")
    assert (ran.code, ran.out) == (0, "executor 7 paused\n")
    assert mqtasks("pause", "executor", "7").code == 1
    mqtasks("pause", "key", "customer 1")
    rows = json.loads(mqtasks("pauses", "-o", "json").out)
    assert [(row["kind"], row["name"], row["reason"]) for row in rows] == [
        ("executor", 7, "bad release"),
        ("key", "customer 1", ""),
    ]
    ran = mqtasks("resume", "executor", "7")
    assert (ran.code, ran.out) == (0, "executor 7 resumed\n")
    ran = mqtasks("resume", "executor", "7")
    assert (ran.code, ran.out) == (1, "executor 7 was not paused\n")


def test_s4_a_paused_cron_task_is_listed(mqtasks, service):
    service.create_cron_task(TaskMetadata("nightly", "work"), "* * * * *")
    assert mqtasks("pause", "cron", "nightly").code == 0
    assert "cron  nightly" in mqtasks("pauses").out
    ran = mqtasks("pause", "cron", "weekly")
    assert (ran.code, ran.err) == (
        1,
        "mqtasks: cron task 'weekly' is not stored (never added, or deleted)\n",
    )


def test_nothing_paused_says_so(mqtasks, service):
    assert service.control.pauses() == []
    ran = mqtasks("pauses")
    assert (ran.code, ran.out, ran.err) == (0, "", "nothing is paused\n")


# -- editing ---------------------------------------------------------------------------------------


def test_m16_a_failed_task_is_edited_and_retried(mqtasks, service):
    fail(service, "a")
    ran = mqtasks(
        *("tasks", "edit", "a", "--args", '["b.jpg"]', "--kwargs", '{"width": 3}'),
        *("--priority", "4", "--retry"),
    )
    assert (ran.code, ran.out, ran.err) == (0, "task 1: edited, runs again\n", "")
    task = service.get(1)
    assert task.metadata.context == b'j[["b.jpg"],{"width":3}]'
    assert (task.status, task.priority) == (TaskStatus.CREATED, 4)


def test_a_raw_payload_is_edited_as_it_is(mqtasks, service):
    service.create(TaskMetadata("a", 7, b"old"))
    assert mqtasks("tasks", "edit", "1", "--payload", "new").code == 0
    assert service.get(1).metadata.context == b"new"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--args", "{}"), "args='{}': must be a list"),
        (("--kwargs", "nope"), "is not JSON"),
        (("--args", "[]", "--payload", "x"), "either --payload, or --args"),
    ],
)
def test_an_edit_that_cannot_be_meant_is_refused(mqtasks, service, arguments, said):
    service.create(TaskMetadata("a", 7, b"old"))
    ran = mqtasks("tasks", "edit", "1", *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert service.get(1).metadata.context == b"old"


# -- many at once ----------------------------------------------------------------------------------


def test_s6_failed_tasks_are_retried_by_filter_with_a_preview(mqtasks, service):
    fail(service, "a", "b")
    fail(service, "c", executor="mail")
    ran = mqtasks("tasks", "retry", "--executor", "work", "--dry-run")
    assert (ran.code, ran.out) == (0, "2 tasks would be run again\n")
    assert service.get(1).status is TaskStatus.COMPLETED
    ran = mqtasks("tasks", "retry", "--executor", "work", "--yes", "-o", "json")
    assert json.loads(ran.out) == [
        {"matched": 2, "changed": 2, "dry_run": False, "examples": [1, 2]}
    ]
    assert service.get(3).status is TaskStatus.COMPLETED


def test_many_are_not_touched_unless_somebody_says_yes(mqtasks, service, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    service.create_batch([TaskMetadata(name, "work") for name in "abc"])
    ran = mqtasks("tasks", "cancel", "--all")
    assert ran.code == 130
    assert "3 tasks will be canceled. Go on?" in ran.err
    assert service.get(1).status is TaskStatus.CREATED
    assert mqtasks("tasks", "cancel", "--all", "--limit", "2", "--yes").out == (
        "2 of 2 tasks canceled\n"
    )
    assert service.get(3).status is TaskStatus.CREATED


def test_filters_and_names_exclude_each_other(mqtasks):
    assert "not both" in mqtasks("tasks", "cancel", "1", "--all").err
    ran = mqtasks("tasks", "retry")
    assert (ran.code, "name tasks, or select them" in ran.err) == (2, True)
    assert "must be ISO 8601" in mqtasks("tasks", "cancel", "--before", "yesterday").err
