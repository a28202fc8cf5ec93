"""``mqtasks enqueue --deadline``, and what shows it."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.usefixtures("database")


def rows(ran):
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def shown(mqtasks, task_id):
    return rows(mqtasks("tasks", "show", str(task_id), "-o", "json"))


def test_a_deadline_counts_from_the_creation(mqtasks, app_module):
    call = ("enqueue", app_module, "resize", '"a.jpg"', "-o", "json")
    (made,) = rows(mqtasks(*call, "--deadline", "90"))
    task = shown(mqtasks, made["task_id"])
    assert task["deadline_at"] == task["created_at"] + 90_000
    assert task["options"]["deadline"] == 90
    (made,) = rows(mqtasks(*call))
    assert shown(mqtasks, made["task_id"])["deadline_at"] == 0


def test_a_negative_one_is_refused(mqtasks):
    ran = mqtasks("enqueue", "--executor", "7", "--payload", "x", "--deadline", "-1")
    assert ran.code == 2
    assert "--deadline" in ran.err
