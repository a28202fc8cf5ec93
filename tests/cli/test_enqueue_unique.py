"""``mqtasks enqueue --unique-for``: the same windows as those of the API."""

from __future__ import annotations

import json

import pytest

from mqtasks.app import Task
from mqtasks.cli.apps import load_app

pytestmark = pytest.mark.usefixtures("database")


def made(ran):
    assert ran.code == 0, ran.err
    (row,) = json.loads(ran.out)
    return row["task_id"], row["id"], row["is_new"]


def test_equal_calls_within_the_window_are_the_first_task(mqtasks, app_module):
    call = ("enqueue", app_module, "resize")
    first = made(mqtasks(*call, '"a.jpg"', "--unique-for", "60", "-o", "json"))
    same = made(mqtasks(*call, 'path="a.jpg"', "width=100", "--unique-for", "5", "-o", "json"))
    assert same == (*first[:2], False)
    assert made(mqtasks(*call, '"b.jpg"', "--unique-for", "60", "-o", "json"))[2]
    ran = mqtasks(*call, '"a.jpg"', "--unique-for", "60")
    assert ran.out == f"task {first[0]} ({first[1]}) had been created before\n"


def test_the_window_is_that_of_the_application(mqtasks, app_module):
    first = made(
        mqtasks("enqueue", app_module, "resize", '"a.jpg"', "--unique-for", "60", "-o", "json")
    )
    with load_app(app_module) as app:
        remote = app.remote("resize").options(unique_for=60, unique_key="k")
        assert remote.enqueue("a.jpg").is_new
        resize: Task[..., str] = Task(app, app.registry.require("resize"))
        assert resize.options(unique_for=60).enqueue("a.jpg", 100).task_id == first[0]
        assert not resize.options(unique_for=60, unique_key="k").enqueue("b.jpg").is_new
    keyed = made(
        mqtasks(
            *("enqueue", app_module, "resize", '"c.jpg"'),
            *("--unique-for", "60", "--unique-key", "k", "-o", "json"),
        )
    )
    assert keyed[2] is False


def test_payloads_of_executors_are_compared_as_they_are(mqtasks):
    call = ("enqueue", "--executor", "7", "--unique-for", "60", "-o", "json", "--payload")
    first = made(mqtasks(*call, "x=1"))
    assert made(mqtasks(*call, "x=1")) == (*first[:2], False)
    assert made(mqtasks(*call, "x=2"))[2]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--unique-key", "k"), "unique_key='k': needs unique_for"),
        (("--unique-for", "0.0001"), "unique_for=0.0001: must be seconds >= 0.001"),
        (("--unique-for", "60", "--id", "mine"), "id='mine': names the task already"),
        (("--unique-for", "soon"), "not a valid float range"),
    ],
)
def test_what_makes_no_sense_is_refused(mqtasks, options, says):
    ran = mqtasks("enqueue", "--executor", "7", *options)
    assert ran.code == 2
    assert says in ran.err


def test_zero_means_no_window(mqtasks):
    ran = mqtasks("enqueue", "--executor", "7", "--unique-for", "0", "--id", "mine")
    assert ran.out == "task 1 (mine) created\n"
