"""Tasks that follow the fate of Django's transactions, on real databases (S1)."""

from __future__ import annotations

import pytest

pytest.importorskip("django")

from mqtasks import InvalidArgument, MQTasks
from mqtasks.config import Settings
from mqtasks.middleware import compose
from tests.support.callers import by_django


@pytest.fixture(params=["mysql_url", "sqlite_url"])
def shop(request):
    url = request.getfixturevalue(request.param)
    app = MQTasks(settings=Settings.load(url=url, environ={}))

    @app.task
    def ship(order: int) -> int:
        return order

    with app, by_django(url) as caller:
        assert app.service.query_task() == []
        yield ship, caller.target, lambda: [t.metadata.id for t in app.service.query_task()]


@pytest.mark.parametrize("same", [True, False])
def test_s1_a_task_exists_only_after_the_commit(shop, same):
    from django.db import transaction

    from mqtasks.integrations.django import enqueue

    ship, _, ids = shop

    def fail():
        with transaction.atomic():
            enqueue(ship, (1,), same_database=same, id="undone")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert ids() == []
    with transaction.atomic():
        handle = enqueue(ship, kwargs={"order": 2}, same_database=same, id="done")
        assert (handle is not None) == same
        assert ids() == []
    assert ids() == ["done"]


def test_outside_of_atomic_a_task_is_created_at_once(shop):
    from mqtasks.integrations.django import enqueue

    ship, _, ids = shop
    handle = enqueue(ship, (3,), id="now")
    assert handle is not None
    assert handle.is_new
    assert ids() == ["now"]


def test_a_database_that_is_not_the_tasks_own_is_refused(shop, tmp_path):
    from django.db import transaction

    from mqtasks.integrations.django import enqueue

    _, _, ids = shop
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    with MQTasks(settings=Settings.load(url=elsewhere, environ={})) as other:

        @other.task
        def lost(order: int) -> int:
            return order

        with pytest.raises(InvalidArgument), transaction.atomic():
            enqueue(lost, (4,))
    assert ids() == []


def test_connections_past_their_age_are_closed_around_an_execution(shop):
    from mqtasks.integrations.django import fresh_connections

    _, connection, _ = shop
    connection.close_at = 0.0

    def execute(context):
        assert connection.connection is None
        connection.ensure_connection()
        connection.close_at = 0.0
        return context + 1

    connection.ensure_connection()
    connection.close_at = 0.0
    assert compose([fresh_connections], execute)(1) == 2
    assert connection.connection is None
