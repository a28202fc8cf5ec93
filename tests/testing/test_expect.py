"""Assertions about what was enqueued, and what they say when they fail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from unittest.mock import ANY

import pytest

from mqtasks.errors import InvalidArgument
from mqtasks.model import TaskMetadata
from mqtasks.testing import TaskTester, manual
from tests.testing import shop


def failure(message: str) -> pytest.RaisesExc[AssertionError]:
    return pytest.raises(AssertionError, match=message)


def test_a_task_counts_whatever_its_state_is(mqtasks_app: TaskTester) -> None:
    mqtasks_app.refute_enqueued(shop.note)
    shop.note.enqueue("x")

    assert [one.args for one in mqtasks_app.assert_enqueued(shop.note)] == [("x",)]
    mqtasks_app.drain()
    mqtasks_app.assert_enqueued(shop.note, count=1)
    mqtasks_app.assert_enqueued("note")
    with failure("1 task is enqueued as note.*, not 0"):
        mqtasks_app.refute_enqueued(shop.note)


def test_arguments_are_compared_by_parameter(mqtasks_app: TaskTester) -> None:
    shop.note.enqueue(what="x", loud=True)

    mqtasks_app.assert_enqueued(shop.note, "x")
    mqtasks_app.assert_enqueued(shop.note, kwargs={"loud": True})
    mqtasks_app.assert_enqueued(shop.note, ANY, kwargs={"loud": ANY})
    mqtasks_app.refute_enqueued(shop.note, "y")
    mqtasks_app.refute_enqueued(shop.note, "x", kwargs={"loud": False})


def test_defaults_count_as_given(mqtasks_app: TaskTester) -> None:
    shop.note.enqueue("x")

    mqtasks_app.assert_enqueued(shop.note, "x", kwargs={"loud": False})


def test_options_are_compared(mqtasks_app: TaskTester) -> None:
    due = datetime.fromtimestamp(mqtasks_app.clock.now_ms() / 1000, UTC) + timedelta(hours=1)
    due += timedelta(microseconds=123)
    shop.note.options(delay=60, key="acme", tags=("a",), priority=3, id="order-1").enqueue("x")
    shop.note.options(at=due).enqueue("y")

    mqtasks_app.assert_enqueued(shop.note, delay=60, key="acme", tags=("a",), priority=3)
    mqtasks_app.assert_enqueued(shop.note, "x", id="order-1", delay=timedelta(minutes=1))
    mqtasks_app.assert_enqueued(shop.note, "y", at=due, delay=3600)
    mqtasks_app.refute_enqueued(shop.note, "y", key="acme")
    mqtasks_app.refute_enqueued(shop.note, "x", at=due)


def test_a_delay_is_remembered_after_the_run(mqtasks_app: TaskTester) -> None:
    shop.flaky.options(delay=5).enqueue(1)
    mqtasks_app.advance(5)
    mqtasks_app.drain()

    mqtasks_app.assert_enqueued(shop.flaky, delay=5)


def test_a_failure_shows_what_there_is_nearest_first(mqtasks_app: TaskTester) -> None:
    shop.flaky.enqueue(1)
    shop.note.enqueue("far", loud=True)
    shop.note.options(delay=30).enqueue("near")

    with failure("no task is enqueued as note") as caught:
        mqtasks_app.assert_enqueued(shop.note, "near", kwargs={"loud": False}, delay=60)

    head, *lines = str(caught.value).splitlines()
    assert "note(what='near', loud=False) with delay=60" in head
    assert [line.split("(")[0].strip() for line in lines] == ["note", "note", "flaky"]
    assert "[delay=30.0, not 60]" in lines[0]
    assert "what='far', not 'near'; loud=True, not False" in lines[1]
    assert "[another task]" in lines[2]


def test_a_failure_tells_of_a_wrong_count(mqtasks_app: TaskTester) -> None:
    shop.note.enqueue_many([("x",), ("x",)])

    with failure("2 tasks are enqueued as note.*, not 3"):
        mqtasks_app.assert_enqueued(shop.note, "x", count=3)
    with failure("no task is enqueued as anote.*, not 1"):
        mqtasks_app.assert_enqueued(shop.anote, count=1)


def test_a_failure_stays_short(mqtasks_app: TaskTester) -> None:
    shop.note.enqueue_many([("x" * 500,)] * 30)

    with failure("and 20 more") as caught:
        mqtasks_app.assert_enqueued(shop.anote)

    assert len(str(caught.value)) < 2000


def test_a_failure_tells_when_there_is_nothing() -> None:
    with manual(shop.app) as tasks, failure("nothing is enqueued at all"):
        tasks.assert_enqueued(shop.note)


def test_clear_begins_anew(mqtasks_app: TaskTester) -> None:
    shop.note.enqueue("before")
    mqtasks_app.clear()
    mqtasks_app.refute_enqueued(shop.note)
    shop.note.enqueue("after")

    mqtasks_app.assert_enqueued(shop.note, "after", count=1)
    assert len(mqtasks_app.drain()) == 2


def test_what_no_task_can_be_like_is_refused(mqtasks_app: TaskTester) -> None:
    with pytest.raises(InvalidArgument, match="do not fit 'note'"):
        mqtasks_app.assert_enqueued(shop.note, kwargs={"lound": True})
    with pytest.raises(InvalidArgument, match="options='dealy'"):
        mqtasks_app.assert_enqueued(shop.note, dealy=1)  # type: ignore[call-arg]
    with pytest.raises(InvalidArgument, match="aware"):
        mqtasks_app.refute_enqueued(shop.note, at=datetime(2030, 1, 1))  # noqa: DTZ001


def test_tasks_from_elsewhere_can_be_expected(mqtasks_app: TaskTester) -> None:
    shop.app.remote("mailer.send").enqueue("ada", copy=True)
    mqtasks_app.service.create(TaskMetadata("raw", "note", b"\x00garbage"))

    mqtasks_app.assert_enqueued("mailer.send", "ada", kwargs={"copy": True})
    mqtasks_app.refute_enqueued("mailer.send", "bob")
    with failure("arguments that cannot be read"):
        mqtasks_app.assert_enqueued(shop.note, "x")
