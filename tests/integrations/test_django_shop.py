"""The Django example: orders and their tasks in one transaction, executed by a real worker."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest

pytest.importorskip("django")
if find_spec("django.tasks") is None:  # before Django 6
    pytest.importorskip("django_tasks")

from tests.integrations.django_site import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("shop"))
    made.manage("migrate", "--verbosity", "0")
    return made


@pytest.fixture(scope="module")
def ended(site):
    """What became of tasks that a worker has executed."""
    placed = site.run("""
        client = Client(headers={"X-Request": "Ada"})
        before = len(app.service.query_task())
        placed = client.get("/orders/book").json()
        undone = client.get("/orders/nothing").json()
        many, stub = count.enqueue(), stubborn.enqueue(2)
        say({"placed": placed, "undone": undone, "count": many.id, "stubborn": stub.id,
             "rows": len(app.service.query_task()) - before, "status": stub.status})
    """)
    with site.worker():
        found = site.run(f"""
            ids = {placed!r}
            said = app.handle(ids["placed"]["task"]).result(30)
            results = {{}}
            for name, task, key in (("thank", thank, ids["placed"]["thanks"]),
                                    ("count", count, ids["count"]),
                                    ("stubborn", stubborn, ids["stubborn"])):
                assert app.handle(key).wait(30)
                result = task.get_result(key)
                results[name] = [result.status, result.return_value, result.attempts,
                                 result.task.queue_name, result.task.priority,
                                 [error.exception_class_path for error in result.errors],
                                 result.started_at is not None, result.finished_at is not None]
            order = Order.objects.get()
            say({{"said": said, "results": results, "state": order.state,
                  "thanked": order.thanked}})
        """)
    return placed, found


def test_an_order_and_its_tasks_are_one_transaction(ended):
    placed, found = ended
    assert placed["rows"] == 4, "of the order that was rolled back there is no task"
    assert found["said"] == "order 1 is on its way, as Ada wished"
    assert (found["state"], found["thanked"]) == ("shipped", True)


def test_a_worker_says_once_what_it_has_found(site, ended):
    assert ended, "it has run"
    [said] = re.findall(r"executors of (.*)", site.log())
    assert said == (
        "mqtasks.integrations.django.worker:app:"
        " ship, shop.tasks.count, shop.tasks.stubborn, shop.tasks.thank"
    )


def test_commands_run_without_manage_py_too(site):
    said = site.admin("mqtasks", "worker", "--check")
    assert f"url: sqlite:///{site.database}" in said
    assert "shop.tasks.thank" in said
    site.admin("mqtasks", "enqueue", "ship", "7", "--id", "by-admin")
    assert "by-admin" in site.admin("mqtasks", "tasks", "list")


def test_djangos_own_tasks_run_on_mqtasks(ended):
    placed, found = ended
    assert placed["status"] == "READY"
    assert found["results"]["thank"] == ["SUCCESSFUL", True, 1, "letters", -5, [], True, True]
    assert found["results"]["count"] == ["SUCCESSFUL", 1, 1, "default", 0, [], True, True]
    assert found["results"]["stubborn"] == [
        "SUCCESSFUL", 2, 2, "default", 0, ["builtins.LookupError"], True, True,
    ]  # fmt: skip


def test_on_mysql_django_migrates_the_tables_of_tasks_and_orders_together(
    tmp_path, empty_mysql_url
):
    settings = {
        "DJANGO_SETTINGS_MODULE": "tests.integrations.mysql_settings",
        "SHOP_URL": empty_mysql_url,
    }
    site = Site(tmp_path, **settings)
    migrated = site.manage("migrate")
    assert "Applying shop.0001_initial... OK" in migrated
    assert re.search(r"mqtasks: \d+ migrations applied", migrated)
    found = site.run("""
        placed = Client().get("/orders/book").json()
        Client().get("/orders/nothing")
        say([placed["task"], Order.objects.count(),
             sorted(task.metadata.executor for task in app.service.query_task()),
             thank.get_result(placed["thanks"]).status])
    """)
    assert found == ["ship-1", 1, ["ship", "shop.tasks.thank"], "READY"]
