"""Query plans on MariaDB: hot statements seek in the queue index or the primary key, unsorted."""

from __future__ import annotations

import contextlib

import pytest

from mqtasks.conditions import where
from mqtasks.model import (
    AsyncTask,
    ExecuteResult,
    NewTask,
    ResultCode,
    RunnerRecord,
    TaskEpoch,
    TaskMetadata,
    TaskStatus,
    lane_of,
)
from mqtasks.storage import migrate
from mqtasks.storage.contract import Allocation, Completion, ExecutorLimit, RetryRequest
from mqtasks.storage.mysql import MySQLTaskStorage
from mqtasks.storage.mysql.address import address_url
from tests.support.servers import temporary_database
from tests.support.statements import record_statements

QUEUE = "mqtasks_task_queue"
FAR = 2 * 10**12
GOOD = ExecuteResult(ResultCode.SUCCESS)


def row(name, number, status, **fields):
    metadata = TaskMetadata(f"{name}-{number}", f"executor{number % 20}")
    return AsyncTask(metadata=metadata, status=status, **fields)


@pytest.fixture(scope="module")
def storage(mariadb):
    """A table with a history, a backlog, a future, and a little that is live."""
    with temporary_database(mariadb) as url, MySQLTaskStorage(url) as storage:
        migrate.up(storage)
        ended = {"runner": "r1", "epoch": 1, "execute_result": GOOD, "completed_at": 1}
        storage.add(*(row("done", n, TaskStatus.COMPLETED, **ended) for n in range(8000)))
        storage.add(*(row("later", n, TaskStatus.SCHEDULED, run_at=FAR) for n in range(3000)))
        storage.add(*(row("due", n, TaskStatus.SCHEDULED, run_at=1) for n in range(100)))
        storage.add(*(row("wait", n, TaskStatus.CREATED) for n in range(3000)))
        live = {"epoch": 1, "generation": 1, "last_heartbeat": 1}
        for runner in ("r1", "r2"):
            rows = (row(f"live-{runner}", n, TaskStatus.RUNNING, runner=runner, **live)
                    for n in range(200))  # fmt: skip
            storage.add(*rows)
        storage.register_runner(RunnerRecord(id="r9", holder="h"), 10**9, 3)
        yield storage


@pytest.fixture
def plans(storage, monkeypatch, mariadb):
    """A function that runs an operation and returns the plan rows of all its statements."""
    sent = record_statements(monkeypatch)

    def explained(operation):
        found = []
        statements = sent(operation)
        with contextlib.closing(mariadb.client(storage.address.database)) as client:
            client.query("SET SESSION in_predicate_conversion_threshold = 0")
            with client.cursor() as cursor:
                for sql in statements:
                    if "mqtasks_task" in sql and not sql.startswith("INSERT INTO"):
                        cursor.execute(f"EXPLAIN {sql}")
                        names = [item[0] for item in cursor.description]
                        found += [
                            dict(zip(names, values, strict=True)) | {"sql": sql}
                            for values in cursor.fetchall()
                        ]
        assert found, "no statement touched the tasks"
        return found

    return explained


def running(storage, count=50):
    tasks = storage.query(where.status == TaskStatus.RUNNING, where.runner == "r1")
    return [TaskEpoch(task.id, task.epoch) for task in tasks[:count]]


def prepare_allocation(storage):
    waiting = storage.query(where.status == TaskStatus.CREATED, where.limit(100))
    given = [Allocation(task.id, task.epoch, "r9", 1) for task in waiting]
    leadership = storage.acquire_lease("leader", "me", 10**9)
    limits = [ExecutorLimit("executor1", 100)]
    # Which executor a lane belongs to is looked up once in the life of a process.
    storage.allocate_many(given[:1], leadership, limits)
    return lambda: storage.allocate_many(given[1:], leadership, limits)


def prepare_successes(storage):
    tasks = running(storage, 40)
    done = [Completion(item.task_id, 1, GOOD, n % 3) for n, item in enumerate(tasks)]
    return lambda: storage.complete_many("r1", done)


def prepare_failures(storage):
    failed = ExecuteResult(ResultCode.FAILED, "boom")
    done = [Completion(item.task_id, 1, failed) for item in running(storage, 5)]
    return lambda: storage.complete_many("r1", done)


def prepare_retries(storage):
    retries = [RetryRequest(item.task_id, 1, 10**9, "boom") for item in running(storage, 20)]
    return lambda: storage.retry_many("r1", retries)


def prepare_releases(storage):
    tasks = running(storage, 5)
    return lambda: storage.release_many("r1", tasks, "drain")


def by_epochs(name):
    def prepare(storage):
        tasks = running(storage)
        return lambda: getattr(storage, name)("r1", tasks)

    return prepare


def prepare_load(storage):
    ids = [item.task_id for item in running(storage)]
    return lambda: storage.load(ids)


def prepare_progress(storage):
    (task,) = running(storage, 1)
    return lambda: storage.save_progress("r1", task, b"50%")


def call(name, *arguments):
    return lambda storage: lambda: getattr(storage, name)(*arguments)


OPERATIONS = {
    "promote_due": call("promote_due", 10),
    "next_due_in_ms": call("next_due_in_ms"),
    "lanes": call("lanes", 0, 100),
    "lane_tasks": call("lane_tasks", lane_of(TaskMetadata("", "executor1")), 100),
    "live_load": call("live_load"),
    "lane_signatures": call("lane_signatures", [lane_of(TaskMetadata("", "executor1"))]),
    "allocate_many": prepare_allocation,
    "owned": call("owned", "r1", 1),
    "complete_many, successes": prepare_successes,
    "complete_many, failures": prepare_failures,
    "retry_many": prepare_retries,
    "release_unstarted": call("release_unstarted", "r2", 1, "drain"),
    "mark_started": by_epochs("mark_started"),
    "heartbeat_many": by_epochs("heartbeat_many"),
    "release_many": prepare_releases,
    "save_progress": prepare_progress,
    "load": prepare_load,
    "find": call("find", ["done-1", "wait-2", "none"]),
    "orphans": call("orphans"),
    "prune": call("prune", 1, 100, 10**15, 10**15),
    "query by id": call("query", where.task_id.in_([5, 6, 7])),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_hot_statements_seek(name, plans, storage):
    for plan in plans(OPERATIONS[name](storage)):
        told = plan["Extra"] or ""
        if plan["table"] is None or (plan["table"] or "").startswith("<"):
            continue  # answered by one seek while planning, or a union of such
        if plan["table"] in {"mqtasks_runner", "mqtasks_lease", "mqtasks_attempt"}:
            continue
        allowed = {QUEUE, "PRIMARY", "mqtasks_task_metadata_id"}
        assert plan["key"] in allowed, plan
        assert plan["type"] not in {"ALL", "index"}, plan
        assert "filesort" not in told, plan
        assert "temporary" not in told, plan


@pytest.mark.parametrize("name", ["live_load", "orphans"])
def test_what_counts_rows_reads_only_the_index(name, plans, storage):
    looked = [plan for plan in plans(OPERATIONS[name](storage)) if plan["key"] == QUEUE]
    assert looked
    assert all("Using index" in plan["Extra"] for plan in looked)


def test_p7_lanes_are_found_by_seeks_alone(plans, storage):
    storage.lanes(0, 100)
    found = plans(lambda: storage.lanes(0, 100))
    one_seek = {"Select tables optimized away", "No matching min/max row"}
    assert [plan for plan in found if plan["Extra"] not in one_seek] == []
    assert len(found) > 20, "each lane, and what is behind the last"
    assert {plan["sql"] for plan in found} == {found[0]["sql"]}, "one statement"


def test_p7_lanes_not_met_before_are_read_from_the_index_in_order(storage, plans):
    at = storage.address
    url = address_url(at.user, at.password, f"{at.host}:{at.port}", at.database)
    with MySQLTaskStorage(url) as fresh:
        found = plans(lambda: fresh.lanes(0, 100))
    entries = [plan for plan in found if "ORDER BY queue_lane LIMIT" in plan["sql"]]
    assert entries
    for plan in entries:
        assert plan["key"] == QUEUE
        assert "Using index" in plan["Extra"]
        assert "filesort" not in plan["Extra"]


def test_p7_old_statistics_turn_no_seek_into_a_scan(plans, storage, mariadb):
    """The table was small when it was last analysed; the server still believes that."""
    with contextlib.closing(mariadb.client(storage.address.database)) as client:
        client.query("ALTER TABLE mqtasks_task STATS_AUTO_RECALC = 0")
        client.query(
            "UPDATE mysql.innodb_table_stats SET n_rows = 1 WHERE table_name ="
            f" 'mqtasks_task' AND database_name = '{storage.address.database}'"
        )
        client.query(
            "UPDATE mysql.innodb_index_stats SET stat_value = 1 WHERE table_name ="
            f" 'mqtasks_task' AND database_name = '{storage.address.database}'"
        )
        client.query("FLUSH TABLES")
    for name in ("owned", "lane_tasks", "promote_due", "next_due_in_ms", "live_load", "orphans"):
        for plan in plans(OPERATIONS[name](storage)):
            if plan["table"] == "mqtasks_task":
                assert plan["key"] in {QUEUE, "PRIMARY"}, plan


def test_a_new_task_is_found_at_once_beside_known_lanes(storage):
    """The lanes met before are only guesses what to ask for."""
    before = storage.lanes(0, 100)
    tasks = [NewTask(TaskMetadata(f"fresh-{n}", f"fresh executor {n}")) for n in range(5)]
    storage.create_tasks(tasks)
    fresh = {lane_of(task.metadata) for task in tasks}
    assert storage.lanes(0, 100) == sorted({*before, *fresh})
    storage.delete(where.metadata_id.in_([task.metadata.id for task in tasks]))
    assert storage.lanes(0, 100) == before
