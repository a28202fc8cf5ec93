"""The in-process event bus."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

import mqtasks
from mqtasks import events
from mqtasks.errors import InvalidArgument
from mqtasks.events import EVENTS, EventBus


@pytest.fixture
def bus():
    return EventBus()


def collect(bus, name):
    seen: list[tuple] = []
    return seen, bus.subscribe(name, lambda event, fields: seen.append((event, dict(fields))))


def test_subscriber_gets_name_and_fields(bus):
    seen, _ = collect(bus, "task.started")
    bus.emit("task.started", task_id=7, epoch=1)
    bus.emit("task.finished", task_id=7)
    assert seen == [("task.started", {"task_id": 7, "epoch": 1})]


def test_prefix_means_all_events_below_it_and_empty_means_all(bus):
    tasks, _ = collect(bus, "task.")
    everything, _ = collect(bus, "")
    for name in EVENTS:
        bus.emit(name)
    assert [name for name, _ in tasks] == [name for name in EVENTS if name.startswith("task.")]
    assert [name for name, _ in everything] == list(EVENTS)


@pytest.mark.parametrize("name", ["task", "task.start", "tasks.", "task.starte.", "."])
def test_subscription_that_could_never_be_called_is_refused(bus, name):
    with pytest.raises(InvalidArgument, match=r"task\.started"):
        bus.subscribe(name, print)


def test_subscribers_are_called_in_the_order_in_which_they_came(bus):
    seen: list[int] = []
    for number in range(3):
        bus.subscribe("task.started", lambda *_, number=number: seen.append(number))
    bus.emit("task.started")
    assert seen == [0, 1, 2]


def test_unsubscribing_ends_one_subscription_and_is_idempotent(bus):
    seen: list[str] = []

    def subscriber(name, _fields):
        seen.append(name)

    first = bus.subscribe("task.", subscriber)
    second = bus.subscribe("task.started", subscriber)
    bus.emit("task.started")
    assert len(seen) == 2
    first()
    first()
    bus.emit("task.started")
    assert len(seen) == 3
    second()
    bus.emit("task.started")
    assert len(seen) == 3
    assert not bus.wants("task.started")


def test_wants_says_whether_anybody_listens(bus):
    assert not bus.wants("task.started")
    bus.subscribe("task.", print)
    assert bus.wants("task.started")
    assert not bus.wants("runner.started")


def test_failing_subscriber_is_logged_and_the_others_are_called(bus, caplog):
    def broken(_name, _fields):
        raise ZeroDivisionError

    bus.subscribe("task.started", broken)
    seen, _ = collect(bus, "task.started")
    bus.emit("task.started", task_id=1)
    assert len(seen) == 1
    assert "a subscriber of task.started failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_subscribing_from_many_threads_loses_nobody(bus):
    together = threading.Barrier(4)

    def work() -> None:
        together.wait(10)
        for _ in range(50):
            bus.subscribe("task.", lambda *_: None)()
            bus.subscribe("task.started", counter)

    counts: list[str] = []

    def counter(name, _fields):
        counts.append(name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    bus.emit("task.started")
    bus.emit("task.finished")
    assert len(counts) == 200


def test_the_process_has_one_bus():
    seen: list[str] = []
    end = events.subscribe("cron.", lambda name, _fields: seen.append(name))
    try:
        assert events.wants("cron.fired")
        events.emit("cron.fired", cron_id="c")
    finally:
        end()
    assert seen == ["cron.fired"]
    assert not events.wants("cron.fired")


def test_whatever_the_package_emits_is_documented():
    root = Path(mqtasks.__file__).parent
    emitted = {
        name
        for path in root.rglob("*.py")
        for name in re.findall(r"\b(?:emit|wants)\(\s*\"([^\"]*)\"", path.read_text())
    }
    assert emitted <= set(EVENTS)
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+", name) for name in EVENTS)
