"""How many round trips the hot operations take on MySQL. Whoever batches wins."""

from __future__ import annotations

import pytest
from msgspec import structs
from pymysql.connections import Connection

from mqtasks.model import (
    SUCCESS,
    CronTask,
    ExecuteResult,
    NewTask,
    RateLimit,
    ResultCode,
    RunnerRecord,
    TaskEpoch,
    TaskMetadata,
    TaskOptions,
    firing_id,
)
from mqtasks.storage.contract import (
    APPLIED,
    Allocation,
    Completion,
    KeyLimit,
    RateRule,
    Renewal,
    Trigger,
)
from mqtasks.storage.mysql import MySQLTaskStorage
from mqtasks.storage.sql.queries import Template


@pytest.fixture
def storage(mysql_url):
    with MySQLTaskStorage(mysql_url) as storage:
        storage.now_ms()  # connected
        yield storage


@pytest.fixture
def counted(storage, monkeypatch):
    """A function that calls an operation and returns (answer, statements sent)."""
    sent = []
    query = Connection.query

    def counting(self, sql, *arguments, **options):
        sent.append(sql)
        return query(self, sql, *arguments, **options)

    monkeypatch.setattr(Connection, "query", counting)

    def call(name, *arguments):
        sent.clear()
        answer = getattr(storage, name)(*arguments)
        return answer, list(sent)

    return call


def tasks(count, prefix="t", executor="work"):
    return [NewTask(TaskMetadata(f"{prefix}{n}", executor, b"{}")) for n in range(count)]


def running(storage, count, runners=1):
    made = storage.create_tasks(tasks(count))
    generations = {
        f"r{n}": storage.register_runner(RunnerRecord(id=f"r{n}", holder="h"), 60_000, 3)
        for n in range(runners)
    }
    given = [
        Allocation(item.task_id, 0, f"r{n % runners}", generations[f"r{n % runners}"])
        for n, item in enumerate(made)
    ]
    return given, storage.acquire_lease("leader", "me", 60_000)


def test_one_task_is_one_statement(counted):
    answer, sent = counted("create_tasks", tasks(1))
    assert answer[0].is_new
    assert len(sent) == 1


def test_one_known_task_is_two_statements(counted):
    counted("create_tasks", tasks(1))
    answer, sent = counted("create_tasks", tasks(1))
    assert not answer[0].is_new
    assert len(sent) == 2


def test_a_batch_of_new_tasks_is_one_statement(counted, storage):
    answer, sent = counted("create_tasks", tasks(1000))
    assert len(sent) == 1
    assert [item.task_id for item in answer] == [task.id for task in storage.query()]


def test_ten_thousand_tasks_with_five_hundred_known_are_a_few_statements(counted, storage):
    known = storage.create_tasks(tasks(500, "known"))
    batch = [*tasks(9500), *tasks(500, "known")]
    answer, sent = counted("create_tasks", batch)
    assert len(sent) <= 6
    assert [item.is_new for item in answer] == [True] * 9500 + [False] * 500
    assert [item.task_id for item in answer[9500:]] == [item.task_id for item in known]
    stored = storage.find([task.metadata.id for task in batch])
    assert [stored[task.metadata.id].id for task in batch] == [item.task_id for item in answer]


def test_a_window_costs_those_who_ask_for_one_four_statements_more(counted):
    def unique(name):
        return [
            structs.replace(task, unique_key=b"k" * 32, unique_ms=60_000) for task in tasks(1, name)
        ]

    answer, sent = counted("create_tasks", unique("a"))
    assert answer[0].is_new
    assert [sql.split()[0] for sql in sent] == [
        *("BEGIN", "INSERT", "SELECT", "INSERT", "REPLACE", "COMMIT")
    ]
    answer, sent = counted("create_tasks", unique("b"))
    assert answer[0].metadata_id == "a0"
    assert [sql.split()[0] for sql in sent] == ["BEGIN", "INSERT", "SELECT", "COMMIT"]


def test_a_batch_of_windows_is_as_many_statements_as_one(counted):
    batch = [
        structs.replace(task, unique_key=f"{n:032d}".encode(), unique_ms=60_000)
        for n, task in enumerate(tasks(500))
    ]
    answer, sent = counted("create_tasks", batch)
    assert all(item.is_new for item in answer)
    assert len(sent) == 6


def test_a_batch_larger_than_one_statement_is_one_transaction(counted, storage):
    big = [NewTask(TaskMetadata(f"t{n}", "work", bytes(100_000))) for n in range(60)]
    answer, sent = counted("create_tasks", big)
    assert sent[0] == "BEGIN"
    assert sent[-1] == "COMMIT"
    assert len(sent) > 3
    assert [item.task_id for item in answer] == [task.id for task in storage.query()]


def test_allocating_a_batch_to_ten_runners_is_five_statements(counted, storage):
    given, leadership = running(storage, 1000, runners=10)
    answer, sent = counted("allocate_many", given, leadership)
    assert len(answer) == 1000
    assert len(sent) == 5, "begin, leader, runners, update, commit"


@pytest.mark.parametrize("distinct", [False, True])
def test_a_thousand_successes_are_one_statement(counted, storage, distinct):
    given, leadership = running(storage, 1000)
    storage.allocate_many(given, leadership)
    done = [
        Completion(
            item.task_id,
            1,
            ExecuteResult(ResultCode.SUCCESS, "", b"%d" % n) if distinct else SUCCESS,
            n % 7 if distinct else 0,
        )
        for n, item in enumerate(given)
    ]
    answer, sent = counted("complete_many", "r0", done)
    assert answer is APPLIED
    assert len(sent) == 1
    stored = storage.load([item.task_id for item in given])
    for task, item in zip(stored, done, strict=True):
        assert task.execute_result == item.result
        assert task.completed_at - task.started_at == item.elapsed_ms


def test_p10_what_workers_write_all_the_time_is_committed_by_itself(counted, storage):
    """No statement of a worker leaves a transaction open between two round trips."""
    given, leadership = running(storage, 100)
    storage.allocate_many(given, leadership)
    held = [TaskEpoch(item.task_id, 1) for item in given]
    done = [Completion(item.task_id, 1, SUCCESS) for item in given]
    for call in (
        ("mark_started", "r0", held),
        ("heartbeat_many", "r0", held),
        ("save_progress", "r0", held[0], b"1"),
        ("renew_runners", [Renewal("r0", 1)], 1000),
        ("complete_many", "r0", done),
    ):
        _, sent = counted(*call)
        assert "BEGIN" not in sent, call[0]
        assert len(sent) <= 2, call[0]


def test_rows_do_not_grow_on_their_way(storage):
    """What grows is moved by InnoDB, and pages split; spare room is given up instead."""

    def sizes():
        text = "SELECT DISTINCT LENGTH(runner) + LENGTH(spare) FROM mqtasks_task"
        rows = storage.database.read(lambda session: session.rows(Template(text)))
        return [size for (size,) in rows]

    given, leadership = running(storage, 10)
    assert sizes() == [48]
    storage.allocate_many(given, leadership)
    assert sizes() == [48]
    held = [TaskEpoch(item.task_id, 1) for item in given]
    storage.release_many("r0", held[5:], "drain")
    assert sizes() == [48]
    storage.complete_many("r0", [Completion(item.task_id, 1, SUCCESS) for item in held[:5]])
    assert sorted(sizes()) == [2, 48]


def test_a_fetch_is_one_statement_each(counted, storage):
    given, leadership = running(storage, 50)
    storage.allocate_many(given, leadership)
    for call in (("owned", "r0", 1), ("load", [item.task_id for item in given]),
                 ("lane_tasks", 5, 10), ("next_due_in_ms",)):  # fmt: skip
        assert len(counted(*call)[1]) == 1, call[0]


def test_p7_fifty_known_lanes_are_one_statement(counted, storage):
    for number in range(50):
        storage.create_tasks(tasks(3, f"lane{number}-", f"executor{number}"))
    first, _ = counted("lanes", 0, 1000)
    again, sent = counted("lanes", 0, 1000)
    assert len(first) == 50
    assert again == first
    assert len(sent) == 1


def test_p7_the_signatures_of_a_thousand_lanes_are_a_few_statements(counted, storage):
    options = [TaskOptions(concurrency_key=f"key {n}") for n in range(1000)]
    storage.create_tasks(
        [NewTask(TaskMetadata(f"t{n}", "work", options=item)) for n, item in enumerate(options)]
    )
    lanes = [lane for task in storage.query() for lane in [task.lane]]
    answer, sent = counted("lane_signatures", lanes)
    assert sorted(item.signature.key for item in answer) == sorted(
        item.concurrency_key for item in options
    )
    assert len(sent) <= 11


def test_s3_tokens_cost_three_statements_and_nobody_else_pays_for_them(counted, storage):
    given, leadership = running(storage, 100)
    _, plain = counted("allocate_many", given[:50], leadership)
    assert not any("mqtasks_rate" in sql for sql in plain)
    storage.allocate_many(given[50:60], leadership, [KeyLimit("none", 1)])  # knows the lane now
    _, limited = counted("allocate_many", given[60:70], leadership, [KeyLimit("none", 1)])
    assert not any("mqtasks_rate" in sql for sql in limited)
    rules = [RateRule("executor:work", RateLimit(1000))]
    _, rated = counted("allocate_many", given[70:80], leadership, rules)
    assert len(rated) == len(limited) + 3, "the clock, the buckets read, the buckets written"


def test_a_retention_is_noted_once(counted):
    batch = [
        NewTask(TaskMetadata(f"t{n}", "work", options=TaskOptions(retention=float(n))))
        for n in range(1000, 1100)
    ]
    counted("create_tasks", batch[:50])
    _, sent = counted("create_tasks", batch[50:])
    assert len(sent) == 1


def test_p12_a_round_of_triggers_is_seven_statements_whatever_their_number(counted, storage):
    storage.add_cron_task(
        *(
            CronTask(metadata=TaskMetadata(f"c{n}", "work"), cron_expr="* * * * *", next_time=1)
            for n in range(500)
        )
    )
    due, sent = counted("due_cron", 500)
    assert len(sent) == 1
    triggers = [
        Trigger(cron, 60_000, NewTask(TaskMetadata(firing_id(cron.metadata.id, 1), "work")))
        for cron in due
    ]
    answer, sent = counted("trigger_many", triggers)
    assert answer == [True] * 500
    assert [sql.split()[0] for sql in sent] == [
        *("BEGIN", "SELECT", "SELECT", "INSERT", "UPDATE", "INSERT", "COMMIT")
    ]
    fired = storage.query_cron_task()
    answer, sent = counted("fired_tasks", fired, 16)
    assert all(len(tasks) == 1 for tasks in answer.values())
    assert len(sent) == 2
