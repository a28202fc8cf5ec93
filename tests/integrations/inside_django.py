"""Tests that need a Django project: `test_django_project` runs them in a process of their own."""

# ruff: noqa: E402 - models cannot be imported before the setup

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import django
import pytest

django.setup()

from asgiref.sync import sync_to_async
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.test import override_settings
from django.utils import timezone
from shop import tasks as shop_tasks
from shop.models import Order
from shop.tasks import app, count, ship, stubborn, thank

from mqtasks import ConfigError, TaskStatus
from mqtasks.errors import InvalidArgument, PayloadError
from mqtasks.integrations.django import FreshConnections
from mqtasks.integrations.django import databases as databases_module
from mqtasks.integrations.django.application import DjangoTasks, load
from mqtasks.integrations.django.backend import MQTasksBackend
from mqtasks.integrations.django.command import command_line
from mqtasks.integrations.django.databases import database_url
from mqtasks.integrations.django.tasks_api import BACKPORT, BUILTIN, present
from mqtasks.storage.mysql.address import parse_address
from mqtasks.testing import manual

NOTHING = "00000000-1"
api = present()


@pytest.fixture
def tester():
    with manual(app) as made:
        yield made


@pytest.fixture
def signals():
    told: list[tuple[str, str]] = []

    def receive(name):
        def note(sender, task_result, **_kwargs):
            assert sender is MQTasksBackend
            told.append((name, str(task_result.status)))

        return note

    kept = {name: receive(name) for name in ("enqueued", "started", "finished")}
    for name, note in kept.items():
        getattr(api, name).connect(note)
    yield told
    for name, note in kept.items():
        getattr(api, name).disconnect(note)


# -- the backend ---------------------------------------------------------------------------------


def test_the_base_class_is_djangos_own_or_the_backports():
    assert api.package == (BUILTIN if django.VERSION >= (6, 0) else BACKPORT)


def test_a_task_goes_through_its_states(tester, signals):
    order = Order.objects.create(item="book")
    result = thank.enqueue(order.pk)
    assert (result.status, result.args, result.is_finished) == ("READY", [order.pk], False)
    assert result.enqueued_at is not None
    tester.drain()
    result.refresh()
    assert (result.status, result.return_value, result.attempts) == ("SUCCESSFUL", True, 1)
    assert result.started_at <= result.finished_at
    assert signals == [("enqueued", "READY"), ("started", "RUNNING"), ("finished", "SUCCESSFUL")]


def test_the_last_failure_is_the_tasks_and_told_once(tester, signals, caplog):
    result = stubborn.enqueue(9)
    tester.drain()
    [error] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert error.exc_info is not None
    assert error.exc_info[0] is LookupError, "the task's own, for tools that watch the log"
    result.refresh()
    assert (result.status, result.attempts) == ("FAILED", 2)
    assert [error.exception_class for error in result.errors] == [LookupError] * 2
    assert "attempt 2" in result.errors[1].traceback
    with pytest.raises(ValueError, match="failed"):
        _ = result.return_value
    assert [name for name, _ in signals] == ["enqueued", "started", "started", "finished"]
    assert signals[-1] == ("finished", "FAILED")


def test_a_receiver_that_fails_harms_no_task(tester):
    def broken(**_kwargs):
        raise LookupError

    api.started.connect(broken)
    try:
        result = stubborn.enqueue(1)
        tester.drain()
    finally:
        api.started.disconnect(broken)
    result.refresh()
    assert result.return_value == 1


def test_asynchronous_enqueueing_and_tasks(tester):
    result = asyncio.run(count.aenqueue())
    tester.drain()
    asyncio.run(result.arefresh())
    found = asyncio.run(count.aget_result(result.id))
    assert found.return_value == result.return_value == Order.objects.count()


def test_run_after_priority_and_queue_become_the_tasks_own(tester):
    later = timezone.now() + timedelta(hours=1)
    result = thank.using(run_after=later, priority=7, queue_name="default").enqueue(1)
    row = app.handle(result.id).fetch()
    assert row.status is TaskStatus.SCHEDULED
    assert abs(row.run_at - later.timestamp() * 1000) <= 1
    assert (row.priority, row.metadata.options.tenant) == (7, "default")
    assert row.metadata.options.max_retry_times == 1, "an option of the backend"
    found = thank.get_result(result.id)
    assert (found.status, found.task.priority, found.task.queue_name) == ("READY", 7, "default")


def test_what_cannot_be_a_task_is_refused(tester):
    with pytest.raises(TypeError):
        thank.enqueue(object())
    with pytest.raises(Exception, match="Queue 'parcels' is not valid"):
        thank.using(queue_name="parcels")
    with pytest.raises(api.not_found):
        thank.get_result(NOTHING)
    with pytest.raises(api.not_found):
        thank.get_result(ship.enqueue(1).id)  # no task of Django's
    with pytest.raises(Exception, match="does not match"):
        thank.get_result(count.enqueue().id)
    assert len(app.service.query_task()) == 2


@pytest.mark.parametrize(
    ("task", "args", "kwargs", "told"),
    [
        (thank, (1, 2, 3), {}, r"thank\(\) takes 1 positional arguments, got 3"),
        (thank, (), {}, "order_id"),
        (thank, (1,), {"colour": "red"}, "colour"),
        (count, (1,), {}, r"count\(\) takes 0 positional"),
        (stubborn, (1, 2), {}, r"stubborn\(\) takes 1 positional"),
        (stubborn, (), {"context": 1, "least": 1}, "context"),
    ],
)
def test_a_call_that_the_function_does_not_take_is_refused_when_it_is_enqueued(
    tester, task, args, kwargs, told
):
    with pytest.raises(PayloadError, match=told):
        task.enqueue(*args, **kwargs)
    assert app.service.query_task() == []
    stubborn.enqueue(least=1)  # the context is none of the caller's
    assert len(app.service.query_task()) == 1


@pytest.mark.parametrize("name", ["priority", "tenant", "nonsense"])
def test_an_option_that_a_backend_cannot_have_is_refused(name):
    with pytest.raises(InvalidArgument, match=name):
        MQTasksBackend("x", {"OPTIONS": {name: 1}})


def test_backends_have_aliases_and_may_send_a_queue_to_labelled_runners(tester):
    path = "mqtasks.integrations.django.backend.MQTasksBackend"
    labelled = {"BACKEND": path, "QUEUES": [], "OPTIONS": {"queue_label": "queue", "timeout": 5}}
    default = {"BACKEND": path, "QUEUES": [], "OPTIONS": {}}
    with override_settings(TASKS={"default": default, "labelled": labelled}):
        parcels = thank.using(backend="labelled", queue_name="parcels").enqueue(1)
        plain = thank.using(backend="labelled", queue_name="default").enqueue(1)
        options = app.handle(parcels.id).fetch().metadata.options
        assert (options.labels, options.timeout) == ({"queue": "parcels"}, 5)
        assert app.handle(plain.id).fetch().metadata.options.labels == {}
        found = thank.get_result(parcels.id)
        assert (found.backend, found.task.backend) == ("labelled", "labelled")
        assert thank.get_result(thank.using(backend="default").enqueue(1).id).backend == "default"


def test_in_atomic_a_task_is_a_row_of_the_transaction():
    before = len(app.service.query_task())
    with transaction.atomic():
        result = thank.enqueue(1)
        assert len(app.service.query_task()) == before, "others do not see it"
        transaction.set_rollback(True)
    with pytest.raises(api.not_found):
        thank.get_result(result.id)
    with transaction.atomic():
        result = thank.enqueue(1)
    assert thank.get_result(result.id).status == "READY"


# -- settings ------------------------------------------------------------------------------------


def test_tasks_live_in_the_default_database_unless_told_otherwise(monkeypatch, tmp_path):
    name = connection.settings_dict["NAME"]
    with override_settings(MQTASKS={}):
        settings, database = load()
        assert (settings.url, database) == (f"sqlite:///{name}", "default")
        monkeypatch.setenv("MQTASKS_URL", "memory://")
        assert (load()[0].url, load()[1]) == ("memory://", None)
    with override_settings(MQTASKS={"DATABASE": "default"}):
        assert load()[1] == "default"
    with override_settings(MQTASKS={"URL": f"sqlite:///{tmp_path}/x.db", "PARALLELISM": 3}):
        settings, database = load()
        assert (settings.parallelism, database) == (3, None)
    with override_settings(MQTASKS={"URL": "memory://", "DATABASE": "default"}):
        assert load()[1] == "default"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "must be a dict"),
        ({"url": "memory://"}, "capitals"),
        ({"COLOUR": "red"}, "unknown setting 'colour'"),
        ({"PARALLELISM": "many"}, "parallelism"),
    ],
)
def test_wrong_settings_are_named(given, told):
    with override_settings(MQTASKS=given), pytest.raises(ConfigError, match=told):
        _ = DjangoTasks().settings


def test_other_settings_replace_those_in_force_when_they_are_read_again(tmp_path):
    made = DjangoTasks()
    with made:
        first = made.settings
        assert not made.reload()
        with override_settings(MQTASKS={"URL": f"sqlite:///{tmp_path}/y.db"}):
            assert made.reload()
            assert made.settings.url.endswith("y.db")
            assert made.database is None
        assert made.reload()
        assert made.settings == first


def elsewhere(monkeypatch, vendor, **values):
    found = SimpleNamespace(vendor=vendor, display_name=vendor, settings_dict=values)
    monkeypatch.setattr(databases_module, "connections", {"x": found})
    return "x"


def test_a_mysql_databases_url_leads_to_it(monkeypatch):
    values = {"NAME": "shop", "USER": "ada", "PASSWORD": "p@ss/w:d", "HOST": "db", "PORT": "3307"}
    options = {"OPTIONS": {"ssl": {"ca": "/ca.pem"}}}
    address = parse_address(database_url(elsewhere(monkeypatch, "mysql", **values, **options)))
    assert (address.user, address.password, address.database) == ("ada", "p@ss/w:d", "shop")
    assert (address.host, address.port, address.ssl_ca) == ("db", 3307, "/ca.pem")
    values |= {"HOST": "/run/mysqld.sock", "PORT": "", "PASSWORD": ""}
    address = parse_address(database_url(elsewhere(monkeypatch, "mysql", **values)))
    assert address.unix_socket == "/run/mysqld.sock"


@pytest.mark.parametrize(
    ("vendor", "values"),
    [
        ("postgresql", {}),
        ("mysql", {"NAME": "", "USER": ""}),
        ("sqlite", {"NAME": ":memory:"}),
        ("sqlite", {"NAME": "file:memorydb_default?mode=memory&cache=shared"}),
        ("sqlite", {"NAME": "file:x.db"}),
    ],
)
def test_a_database_that_can_hold_no_tasks_is_refused_with_a_remedy(monkeypatch, vendor, values):
    alias = elsewhere(monkeypatch, vendor, **values)
    with pytest.raises(ConfigError, match=r"DATABASES\['x'\].*MQTASKS\[\"URL\"\]"):
        database_url(alias)


# -- commands ------------------------------------------------------------------------------------


def test_commands_that_import_an_application_get_this_one():
    command, environment = command_line(["worker", "--check"], ["/somewhere"])
    app_name = "mqtasks.integrations.django.worker:app"
    assert command[1:] == ["-m", "mqtasks", "worker", app_name, "--check"]
    assert environment["DJANGO_SETTINGS_MODULE"] == "shop.settings"
    assert environment["PYTHONPATH"].startswith("/somewhere:")
    assert "MQTASKS_URL" not in environment
    raw, environment = command_line(["enqueue", "--executor", "x"], [])
    assert raw[3:] == ["enqueue", "--executor", "x"]
    assert environment["MQTASKS_URL"] == app.settings.url


def test_other_commands_get_the_settings():
    with override_settings(MQTASKS={"LABELS": {"a": "b"}, "HEARTBEAT_INTERVAL": 2}):
        app.reload()
        _, environment = command_line(["tasks", "list"], [])
    app.reload()
    assert environment["MQTASKS_URL"] == app.settings.url
    assert environment["MQTASKS_LABELS"] == '{"a": "b"}'
    assert environment["MQTASKS_HEARTBEAT_INTERVAL"] == "2.0"


def test_a_program_can_call_the_command(capfd):
    call_command("mqtasks", "enqueue", "ship", "7", "--id", "called")
    row = app.handle("called").fetch()
    assert row.metadata.options.headers == {"request": ""}, "middlewares stood around it"
    with pytest.raises(CommandError):
        call_command("mqtasks", "enqueue", "nothing")
    assert "nothing" in capfd.readouterr().err


# -- connections ---------------------------------------------------------------------------------


def test_connections_past_their_age_are_closed_around_both_kinds_of_executors():
    def expire():
        assert connection.connection is None
        connection.ensure_connection()
        connection.close_at = 0.0

    async def expire_async(_context):
        await sync_to_async(expire)()
        return 2

    def is_open():
        return connection.connection is not None

    middleware = FreshConnections()
    context: Any = SimpleNamespace()
    connections.close_all()
    assert middleware.execute(lambda _context: expire() or 1, context) == 1
    assert not is_open()

    async def go():
        await sync_to_async(connections.close_all)()
        assert await middleware.aexecute(expire_async, context) == 2
        return await sync_to_async(is_open)()

    assert not asyncio.run(go())


def test_the_middlewares_that_settings_name_are_in_use():
    names = [type(one).__name__ for one in app.registry.middlewares]
    assert names[:2] == ["FreshConnections", "Trace"]
    assert shop_tasks.app is app
