"""Deadlines as producers give them, and what becomes of tasks that nobody runs in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mqtasks import MQTasks
from mqtasks.errors import InvalidArgument, ResultTimeout, TaskFailed
from mqtasks.events import bus
from mqtasks.scheduler import Scheduler, SchedulerOptions
from mqtasks.worker import TaskRunner

SOON = 0.2
WAIT = 20


@pytest.fixture
def app(sqlite_url):
    with MQTasks(sqlite_url) as made:
        yield made


@pytest.fixture
def report(app: MQTasks):
    @app.task(deadline=timedelta(minutes=2))
    def report(name: str) -> str:
        return name

    return report


def test_a_deadline_is_a_duration_from_creation(app, report):
    task = report.enqueue("a").fetch()
    assert task.deadline == task.created_at + 120_000
    task = report.options(deadline=30).enqueue("a").fetch()
    assert task.deadline == task.created_at + 30_000
    assert report.options(deadline=0).enqueue("a").fetch().deadline == 0


def test_or_a_moment(app, report):
    moment = datetime(2040, 1, 1, 12, tzinfo=UTC)
    chosen = report.options(deadline=moment)
    assert chosen.enqueue("a").fetch().deadline == int(moment.timestamp() * 1000)
    assert chosen.options.deadline == 0  # it has replaced the task's own
    with pytest.raises(InvalidArgument, match="aware"):
        report.options(deadline=datetime(2040, 1, 1))  # noqa: DTZ001 - refused for that
    with pytest.raises(InvalidArgument, match="deadline"):
        report.options(deadline=-1)


def test_each_of_many_has_it(app, report):
    handles = report.options(deadline=SOON).enqueue_many([("a",), ("b",)])
    for task in (handle.fetch() for handle in handles):
        assert task.deadline == task.created_at + 200


def test_without_any_runner_a_task_ends_in_bounded_time(app, report):
    """Created, delayed, and waiting for another: a scheduler alone ends them, and says so."""
    handles = [
        report.options(deadline=SOON).enqueue("now"),
        report.options(deadline=SOON, delay=3600).enqueue("later"),
    ]
    handles.append(report.options(deadline=SOON, after=[handles[1]]).enqueue("after"))
    untouched = report.enqueue("no hurry")
    options = SchedulerOptions(promote_poll=0.1, resolve_poll=60.0)
    with Scheduler(app.service, options):
        for handle in handles:
            with pytest.raises(TaskFailed) as caught:
                handle.result(timeout=WAIT)
            assert "passed before it started" in caught.value.error or "parent" in str(caught.value)
        with pytest.raises(ResultTimeout):
            untouched.result(timeout=0)


def test_a_task_within_its_deadline_runs_as_any_other(app, report):
    ended = []
    forget = bus.subscribe("task.finished", lambda _name, fields: ended.append(fields["outcome"]))
    try:
        with TaskRunner("r", app.service, registry=app.registry), Scheduler(app.service):
            assert report.enqueue("a").result(timeout=WAIT) == "a"
    finally:
        forget()
    assert ended == ["success"]
