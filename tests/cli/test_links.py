"""What the commands say of tasks that wait for others (S12)."""

from __future__ import annotations

import json

import pytest

from mqtasks import where
from mqtasks.app import MQTasks, group
from mqtasks.model import NewTask, TaskMetadata

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def plan(database):
    """Tasks p/0 and p/1, of which the first is canceled, and p, which waits for both."""
    with MQTasks(database) as app:
        work = app.remote("work")
        last = group([work.s(1), work.s(2)]).then(work.options(on_failure="run").s(3))
        last.enqueue(id="p")
        app.cancel(app.handle("p/0").task_id)
        app.service.storage.resolve_dependencies()
        yield app


@pytest.mark.usefixtures("plan")
def test_s12_show_says_what_a_task_waits_for(mqtasks):
    shown = json.loads(mqtasks("tasks", "show", "p", "-o", "json").out)
    assert (shown["status"], shown["waits_for"], shown["on_failure"]) == ("WAITING", 1, "RUN")
    assert [(item["id"], item["status"], item["outcome"]) for item in shown["after"]] == [
        ("p/1", "CREATED", "OPEN"),
        ("p/0", "CANCELED", "CANCELED"),
    ]
    text = mqtasks("tasks", "show", "p").out
    assert "waits_for" in text
    assert "id=p/1  status=CREATED  outcome=OPEN" in text


@pytest.mark.usefixtures("plan")
def test_s12_show_says_what_waits_for_a_task(mqtasks):
    shown = json.loads(mqtasks("tasks", "show", "p/1", "-o", "json").out)
    assert [item["id"] for item in shown["before"]] == ["p"]
    assert not {"after", "children"} & shown.keys()


def test_s12_children_are_told_from_those_that_wait(mqtasks, plan):
    made = NewTask(TaskMetadata("made", "work"), child_of="p/1")
    plan.service.create_tasks([made])
    shown = json.loads(mqtasks("tasks", "show", "p/1", "-o", "json").out)
    assert [item["id"] for item in shown["before"]] == ["p"]
    assert [item["id"] for item in shown["children"]] == ["made"]


def test_s12_show_says_why_a_task_was_canceled(mqtasks, plan):
    plan.remote("work").options(id="last", after=["p/0"]).enqueue()
    shown = json.loads(mqtasks("tasks", "show", "last", "-o", "json").out)
    assert (shown["status"], shown["outcome"]) == ("CANCELED", None)
    assert shown["error"].startswith("parent 'p/0' was canceled")


def test_s12_a_link_to_a_deleted_task_is_shown(mqtasks, plan):
    plan.service.storage.delete(where.metadata_id == "p/0")
    shown = json.loads(mqtasks("tasks", "show", "p", "-o", "json").out)
    assert {"task_id": 1, "id": "", "status": "not stored", "outcome": "CANCELED"} in shown["after"]


def test_s12_enqueue_takes_what_comes_before(mqtasks, plan):
    named = ("--executor", "work", "--after", "p/1", "--after", "p", "--on-failure", "fail")
    assert mqtasks("enqueue", *named, "--id", "last").code == 0
    task = plan.service.storage.find(["last"])["last"]
    links = plan.service.storage.dependencies(task.id)
    assert [plan.service.get(link.parent_id).metadata.id for link in links] == ["p/1", "p"]
    assert {link.policy.name for link in links} == {"FAIL"}
    refused = mqtasks("enqueue", "--executor", "work", "--after", "nobody")
    assert refused.code == 2
    assert "nobody" in refused.err


def test_s12_waiting_tasks_are_listed_and_canceled(mqtasks, plan):
    listed = json.loads(mqtasks("tasks", "list", "--status", "waiting", "-o", "json").out)
    assert [item["id"] for item in listed] == ["p"]
    assert mqtasks("tasks", "cancel", "p").code == 0
    listed = mqtasks("tasks", "list", "--status", "waiting", "-o", "json").out
    assert json.loads(listed) == []
    shown = json.loads(mqtasks("tasks", "show", "p", "-o", "json").out)
    assert (shown["status"], shown["waits_for"]) == ("CANCELED", 0)
    assert {item["outcome"] for item in shown["after"]} == {"CANCELED", "DROPPED"}
