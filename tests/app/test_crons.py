"""Cron tasks declared in code are brought in by what they say, and never removed silently."""

from __future__ import annotations

import logging
import threading

import pytest

from mqtasks import MQTasks
from mqtasks.app.crons import CronSync
from mqtasks.errors import ConfigError, InvalidArgument, InvalidCron, PayloadError
from mqtasks.model import CronPolicy, TaskMetadata


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'tasks.db'}"


@pytest.fixture
def make(url):
    """A function that makes a release of the application: declarations by id."""
    made: list[MQTasks] = []

    def release(**declared) -> MQTasks:
        app = MQTasks(url)

        @app.task(name="report", priority=2)
        def report(kind: str = "short") -> None: ...

        for cron_id, (expr, given) in declared.items():
            app.cron(expr, id=cron_id, **given)(report)
        made.append(app)
        return app

    yield release
    for app in made:
        app.close()


def test_a_declaration_is_stored_with_all_it_says(make):
    app = make(
        nightly=("30 2 * * *", {"timezone": "Europe/Berlin", "args": ["long"], "overlap": "skip"})
    )
    assert app.crons.sync() == CronSync(added=("nightly",))
    cron = app.crons.control.get("nightly")
    assert (cron.cron_expr, cron.timezone) == ("30 2 * * *", "Europe/Berlin")
    assert cron.policy == CronPolicy(overlap="skip")
    assert (cron.metadata.executor, cron.metadata.options.priority) == ("report", 2)
    assert cron.metadata.context == b'j[["long"],{}]'
    assert cron.app == "tests"
    assert cron.next_time > app.service.storage.now_ms()
    assert app.crons.sync() == CronSync(unchanged=("nightly",))


def test_the_decorator_takes_a_task_or_a_plain_function(url):
    with MQTasks(url) as app:

        @app.cron("@daily")
        def plain() -> int:
            return 7

        @app.cron("@hourly", id="often")
        @app.task(name="named")
        def function() -> None: ...

        assert plain() == 7
        assert sorted(app.crons.declared) == ["often", "plain"]
        assert app.crons.declared["often"].task is function
        with pytest.raises(ConfigError, match="'often' is declared already"):
            app.cron("@daily", id="often")(function)
        with pytest.raises(InvalidCron):
            app.cron("61 * * * *", id="x")(function)
        with pytest.raises(InvalidArgument, match="use one of: skip, once, all"):
            app.cron("@daily", id="x", misfire="never")(function)
        with pytest.raises(PayloadError):
            app.cron("@daily", id="x", args=[1, 2])(function)
        with pytest.raises(InvalidArgument, match="another application"):
            MQTasks(url).cron("@daily")(function)
        assert sorted(app.crons.declared) == ["often", "plain"]


def test_an_edit_at_runtime_stays_until_the_declaration_changes(make):
    first = make(nightly=("30 2 * * *", {}))
    first.crons.sync()
    first.crons.control.edit("nightly", cron_expr="0 4 * * *")
    first.crons.control.pause("nightly", "why")
    assert make(nightly=("30 2 * * *", {})).crons.sync().unchanged == ("nightly",)
    assert first.crons.control.get("nightly").cron_expr == "0 4 * * *"
    second = make(nightly=("30 3 * * *", {"jitter": 5}))
    assert second.crons.sync(dry_run=True).changed == ("nightly",)
    assert first.crons.control.get("nightly").cron_expr == "0 4 * * *"
    before = first.crons.control.get("nightly")
    assert second.crons.sync().changed == ("nightly",)
    after = first.crons.control.get("nightly")
    assert (after.cron_expr, after.policy.jitter) == ("30 3 * * *", 5)
    assert (after.paused, after.pause_reason) == (True, "why")
    assert after.next_time != before.next_time
    assert second.crons.sync().unchanged == ("nightly",)


def test_what_is_declared_no_more_is_reported_and_removed_on_request_alone(make, caplog):
    make(nightly=("30 2 * * *", {}), weekly=("@weekly", {})).crons.sync()
    later = make(weekly=("@weekly", {}))
    later.service.create_cron_task(TaskMetadata("by hand", "report"), "@daily")
    with caplog.at_level(logging.WARNING, "mqtasks.cron"):
        later.crons.sync_at_start()
    assert "'nightly' is declared no more and still fires" in caplog.text
    expected = CronSync(unchanged=("weekly",), removed=("nightly",))
    assert later.crons.sync() == expected
    assert later.crons.sync(remove=True, dry_run=True) == expected
    assert len(later.service.query_cron_task()) == 3
    assert later.crons.sync(remove=True) == expected
    assert [cron.metadata.id for cron in later.service.query_cron_task()] == ["by hand", "weekly"]


def test_what_somebody_else_has_added_is_left_alone(make, caplog):
    app = make(nightly=("30 2 * * *", {}))
    app.service.create_cron_task(TaskMetadata("nightly", "other"), "@daily")
    with caplog.at_level(logging.WARNING, "mqtasks.cron"):
        app.crons.sync_at_start()
    assert "'nightly' is declared here, but was added by somebody else" in caplog.text
    assert app.crons.control.get("nightly").cron_expr == "@daily"


def test_processes_that_start_at_once_bring_a_declaration_in_once(make):
    make(nightly=("30 2 * * *", {})).crons.sync()
    apps = [make(nightly=("30 3 * * *", {}), new=("@daily", {})) for _ in range(4)]
    together = threading.Barrier(4)
    errors: list[Exception] = []

    def sync(app: MQTasks) -> None:
        try:
            together.wait(30)
            app.crons.sync()
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=sync, args=(app,)) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert apps[0].crons.control.get("nightly").version == 1
    assert apps[0].crons.control.get("new").version == 0
