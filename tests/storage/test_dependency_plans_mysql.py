"""What waiting costs on MariaDB: query plans over many links, and round trips."""

from __future__ import annotations

import contextlib

import pytest

from mqtasks.conditions import where
from mqtasks.model import DependencyOutcome, FailurePolicy
from mqtasks.storage import migrate
from mqtasks.storage.mysql import MySQLTaskStorage
from tests.support.links import linked, resolve
from tests.support.servers import temporary_database
from tests.support.stage import new
from tests.support.statements import record_statements

OPEN, BY_PARENT = "mqtasks_dependency_open", "mqtasks_dependency_parent"
PARENTS = 3000


@pytest.fixture(scope="module")
def storage(mariadb):
    """Parents with a child each, one with thousands, and a child with thousands of parents."""
    with temporary_database(mariadb) as url, MySQLTaskStorage(url) as storage:
        migrate.up(storage)
        parents = [f"p{n}" for n in range(PARENTS)]
        storage.create_tasks([new(name) for name in parents])
        storage.create_tasks([linked(f"c{n}", name) for n, name in enumerate(parents)])
        storage.create_tasks([linked(f"hub{n}", "p7") for n in range(PARENTS)])
        storage.create_tasks([linked("fan", *parents, on_failure=FailurePolicy.RUN)])
        # A history: settled links by far outnumber the open ones.
        storage.create_tasks([linked(f"s{n}", child_of=name) for n, name in enumerate(parents)])
        yield storage


@pytest.fixture(autouse=True)
def _settled(storage):
    """Leave nothing that a test before this one has ended."""
    resolve(storage)


@pytest.fixture
def sent(storage, monkeypatch):
    """A function that runs an operation and returns the statements it sent."""
    return record_statements(monkeypatch)


@pytest.fixture
def plans(storage, sent, mariadb):
    """A function that runs an operation and returns the plan rows of its statements on links."""

    def explained(operation):
        found = []
        statements = sent(operation)
        with contextlib.closing(mariadb.client(storage.address.database)) as client:
            client.query("SET SESSION in_predicate_conversion_threshold = 0")
            with client.cursor() as cursor:
                for sql in statements:
                    if "mqtasks_dependency" in sql and not sql.startswith("INSERT"):
                        cursor.execute(f"EXPLAIN {sql}")
                        names = [item[0] for item in cursor.description]
                        found += [
                            dict(zip(names, values, strict=True)) | {"sql": sql}
                            for values in cursor.fetchall()
                        ]
        assert found
        return found

    return explained


def task_id(storage, name):
    return storage.find([name])[name].id


def end(storage, *names):
    assert storage.cancel_many([task_id(storage, name) for name in names]).canceled


def demand(found, keys):
    for plan in found:
        assert plan["key"] in keys, plan
        assert plan["type"] in {"range", "ref", "const", "eq_ref"}, plan
        assert "temporary" not in (plan["Extra"] or ""), plan


def test_s12_looking_for_parents_that_ended_reads_an_index_alone(storage, plans, sent):
    found = plans(storage.resolve_dependencies)
    demand(found, {OPEN})
    assert all("Using index" in plan["Extra"] for plan in found)
    assert not any("filesort" in plan["Extra"] for plan in found)
    hub = task_id(storage, "p7")
    for start in (0, hub - 1, hub):
        assert len(sent(lambda start=start: storage.resolve_dependencies(start))) == 2


def test_s12_resolving_seeks(storage, plans):
    end(storage, "p20", "p21", "p22")
    found = plans(lambda: resolve(storage))
    demand(found, {OPEN, "PRIMARY"})
    assert not any("filesort" in plan["Extra"] for plan in found if plan["key"] == OPEN)
    [fan] = storage.find(["fan"]).values()
    assert storage.dependencies(fan.id)[20].outcome is DependencyOutcome.CANCELED


def test_s12_a_step_is_a_dozen_statements_however_many_children_it_moves(storage, sent):
    end(storage, "p7")
    before = task_id(storage, "p7") - 1
    statements = sent(lambda: storage.resolve_dependencies(before))
    moved = [sql for sql in statements if sql.startswith("UPDATE mqtasks_task")]
    assert len(moved) == 1
    assert len(statements) <= 12


def test_canceling_looking_and_pruning_seek(storage, plans):
    child = task_id(storage, "c50")
    demand(plans(lambda: storage.cancel_many([child])), {"PRIMARY"})
    demand(plans(lambda: storage.children(task_id(storage, "p51"))), {BY_PARENT})
    demand(plans(lambda: storage.dependencies(child)), {"PRIMARY"})
    demand(plans(lambda: storage.parent_results(child)), {"PRIMARY"})
    demand(plans(lambda: storage.delete(where.task_id == child)), {"PRIMARY"})


def test_s12_the_pruner_asks_by_parent_who_is_needed(storage, plans):
    end(storage, "s60", "s61")
    first = task_id(storage, "s60")
    looked = [
        plan
        for plan in plans(lambda: storage.prune(first, 10, 0, 0))
        if "DISTINCT" in plan["sql"] and plan["table"] == "d"
    ]
    demand([plan | {"Extra": ""} for plan in looked], {BY_PARENT})
    assert looked


def test_s12_a_task_that_waits_costs_five_statements_more_and_others_none(storage, sent):
    plain = sent(lambda: storage.create_tasks([new("plain")]))
    assert len(plain) == 1
    waiting = sent(lambda: storage.create_tasks([linked("waits", "p90", "p91")]))
    assert len(waiting) == 4, "ids of parents, the row, their states, the links"
    many = sent(lambda: storage.create_tasks([linked(f"m{n}", "p90") for n in range(500)]))
    assert len(many) == 4
    assert not any("mqtasks_dependency" in sql for sql in plain)
