"""MySQL connections: settings, deadlocks, kills, frozen processes, interrupted waits (P10)."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet

import pytest

from mqtasks.clock import SystemClock
from mqtasks.conditions import where
from mqtasks.errors import StorageConflict, StorageUnavailable
from mqtasks.model import NewTask, TaskMetadata, TaskStatus
from mqtasks.storage.mysql import MySQLTaskStorage
from mqtasks.storage.sql.allocate import demand_leadership
from mqtasks.storage.sql.queries import Template


@pytest.fixture
def storage(mysql_url):
    with MySQLTaskStorage(mysql_url) as storage:
        yield storage


@pytest.fixture
def client(mariadb, storage):
    """A bare connection to the storage's database, not in autocommit mode."""
    with contextlib.closing(mariadb.client(storage.address.database, autocommit=False)) as client:
        yield client


@pytest.fixture
def threads():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def create(storage, *names):
    made = storage.create_tasks([NewTask(TaskMetadata(name, "work")) for name in names])
    return [item.task_id for item in made]


def fetch(client, sql):
    with client.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def kill_connections(mariadb, storage):
    """Kill every connection to the storage's database; return how many there were."""
    with contextlib.closing(mariadb.client()) as admin:
        ids = fetch(
            admin,
            "SELECT id FROM information_schema.processlist"
            f" WHERE db = '{storage.address.database}'",
        )
        for (number,) in ids:
            fetch(admin, f"KILL CONNECTION {number}")
    return len(ids)


def test_p10_sessions_are_set_up(mysql_url):
    with MySQLTaskStorage(mysql_url, heartbeat_timeout=7.9) as storage:
        names = "@@wait_timeout, @@innodb_lock_wait_timeout, @@autocommit, @@tx_isolation"
        facts = f"SELECT {names}, @@in_predicate_conversion_threshold, @@sql_mode"
        (row,) = storage.database.read(lambda session: session.rows(Template(facts)))
        *settings, threshold, mode = row
        assert settings == [7, 2, 1, "READ-COMMITTED"]
        assert threshold == 0
        assert "STRICT_TRANS_TABLES" in mode


def test_an_update_that_changes_nothing_matches_all_the_same(storage):
    (task_id,) = create(storage, "a")
    task = storage.load([task_id])[0]
    assert storage.update([task], where.task_id == task_id) == 1
    assert storage.update([task], where.task_id == task_id) == 1


def test_p11_the_session_time_zone_does_not_matter(mariadb, mysql_url):
    with contextlib.closing(mariadb.client()) as admin:
        fetch(admin, "SET GLOBAL time_zone = '-08:00'")
        try:
            with MySQLTaskStorage(mysql_url) as storage:
                before = SystemClock().now_ms()
                (task_id,) = create(storage, "a")
                now = storage.now_ms()
                task = storage.load([task_id])[0]
        finally:
            fetch(admin, "SET GLOBAL time_zone = 'SYSTEM'")
    after = SystemClock().now_ms()
    assert before <= task.created_at == task.run_at <= now <= after


def test_a_deadlock_is_tried_again(storage, client, threads):
    first, second = create(storage, "a", "b")
    locked = threading.Event()
    tries = []

    def work(session):
        tries.append(session.repeated)
        session.rows_in("lock_tasks", [first])
        locked.set()
        session.rows_in("lock_tasks", [second])
        return session.run_in("request_cancel", [second])

    # The client has written more, so that the server picks our transaction as the victim.
    fetch(client, "UPDATE mqtasks_runner SET pid = pid + 1")
    for number in range(50):
        fetch(client, f"INSERT INTO mqtasks_lease VALUES ('l{number}', 'x', 1, 1)")
    fetch(client, f"SELECT 1 FROM mqtasks_task WHERE task_id = {second} FOR UPDATE")
    ours = threads.submit(storage.database.transact, work)
    assert locked.wait(10)
    fetch(client, f"SELECT 1 FROM mqtasks_task WHERE task_id = {first} FOR UPDATE")
    client.rollback()
    assert ours.result(timeout=10) == 0
    assert len(tries) > 1
    assert not any(tries), "a deadlock has written nothing: no outcome is unknown"


def test_a_lock_that_is_never_released_is_a_conflict(storage, client, monkeypatch):
    (task_id,) = create(storage, "a")
    monkeypatch.setattr(type(storage.database.dialect), "tries", 1)
    fetch(client, f"SELECT 1 FROM mqtasks_task WHERE task_id = {task_id} FOR UPDATE")
    with pytest.raises(StorageConflict, match="1205"):
        storage.cancel_many([task_id])
    client.rollback()
    assert storage.cancel_many([task_id]).canceled == (task_id,)


def test_a_killed_connection_is_replaced(mariadb, storage):
    create(storage, "a")
    assert kill_connections(mariadb, storage) == 1
    assert create(storage, "b") != []
    assert kill_connections(mariadb, storage) == 1
    assert [task.metadata.id for task in storage.query()] == ["a", "b"]


def test_a_unit_whose_connection_was_killed_is_told_that_it_is_a_repetition(mariadb, storage):
    seen = []

    def work(session):
        seen.append(session.repeated)
        if not session.repeated:
            kill_connections(mariadb, storage)
        return session.now()

    storage.database.transact(work)
    assert seen == [False, True]


def test_a_connection_that_rested_long_is_checked_first(mariadb, storage, monkeypatch):
    monkeypatch.setattr("mqtasks.storage.mysql.pool._CHECK_AFTER", 0.0)
    create(storage, "a")
    kill_connections(mariadb, storage)
    seen = []
    storage.database.read(lambda session: seen.append((session.repeated, session.now() > 0)))
    assert seen == [(False, True)]


def test_p10_a_frozen_transaction_loses_its_locks(mysql_url, storage, threads):
    """The server ends the silent session after wait_timeout; others need not wait for longer."""
    (task_id,) = create(storage, "a")
    frozen, thaw = threading.Event(), threading.Event()
    tries = []

    def freeze(session):
        tries.append(session.repeated)
        session.rows_in("lock_tasks", [task_id])
        frozen.set()
        assert thaw.wait(20)
        return session.run_in("request_cancel", [task_id])

    with MySQLTaskStorage(mysql_url, heartbeat_timeout=1) as other:
        late = threads.submit(other.database.transact, freeze)
        assert frozen.wait(10)
        assert storage.cancel_many([task_id]).canceled == (task_id,)
        thaw.set()
        assert late.result(timeout=10) == 0, "it ran again, and found the task canceled"
    assert tries == [False, True]
    assert storage.load([task_id])[0].status is TaskStatus.CANCELED


def test_a_wait_can_be_interrupted_by_another_thread(storage, client, threads):
    (task_id,) = create(storage, "a")
    fetch(client, f"SELECT 1 FROM mqtasks_task WHERE task_id = {task_id} FOR UPDATE")
    ident = []

    def wait():
        ident.append(threading.get_ident())
        storage.cancel_many([task_id])

    waiting = threads.submit(wait)
    pause = threading.Event()
    while not (ident and storage.interrupt(ident[0])):
        pause.wait(0.005)
    with pytest.raises(StorageUnavailable, match="interrupted"):
        waiting.result(timeout=10)
    client.rollback()
    assert storage.interrupt(ident[0]) is False
    assert storage.cancel_many([task_id]).canceled == (task_id,)


def test_p6_the_next_term_waits_for_allocations_of_the_last(storage, mysql_url, threads):
    leadership = storage.acquire_lease("leader", "first", 1)
    inside, go_on = threading.Event(), threading.Event()
    order = []

    def allocating(session):
        # As allocate_many begins; its lease lapses while it works.
        session.rows("leader", leadership.name)
        inside.set()
        assert go_on.wait(10)
        order.append("allocated")

    with MySQLTaskStorage(mysql_url) as other:
        busy = threads.submit(storage.database.transact, allocating)
        assert inside.wait(10)
        taking = threads.submit(other.acquire_lease, "leader", "second", 60_000)
        with pytest.raises(NotYet):
            taking.result(timeout=0.3)
        go_on.set()
        busy.result(timeout=10)
        taken = taking.result(timeout=10)
    order.append("taken")
    assert order == ["allocated", "taken"]
    assert taken.term == leadership.term + 1
    storage.database.transact(lambda session: demand_leadership(session, taken))


def test_callers_beyond_the_pool_wait_for_a_connection(mysql_url, threads):
    with MySQLTaskStorage(mysql_url, pool_size=2) as storage:
        list(threads.map(lambda n: create(storage, f"t{n}"), range(40)))
        assert len(storage.query()) == 40


def test_an_exhausted_pool_says_what_to_raise(mysql_url, monkeypatch):
    monkeypatch.setattr("mqtasks.storage.mysql.pool._WAIT_FOR_CONNECTION", 0.01)
    with (
        MySQLTaskStorage(mysql_url, pool_size=1) as storage,
        pytest.raises(StorageUnavailable, match="raise pool_size"),
    ):
        storage.database.read(lambda _: storage.now_ms())


def test_close_may_be_called_twice_and_ends_everything(mariadb, mysql_url):
    storage = MySQLTaskStorage(mysql_url)
    create(storage, "a")
    storage.close()
    storage.close()
    with pytest.raises(StorageUnavailable, match="was closed"):
        storage.now_ms()


def test_an_interrupt_in_the_middle_of_an_answer_costs_the_connection(storage):
    """The next user of a connection must never read what was meant for the last one."""

    def work(session):
        session.run("now")
        raise KeyboardInterrupt

    dialect = storage.database.dialect
    before = dialect.checkout(write=False)
    dialect.give_back(before, broken=False)
    with pytest.raises(KeyboardInterrupt):
        storage.database.transact(work)
    after = dialect.checkout(write=False)
    dialect.give_back(after, broken=False)
    assert after is not before


def test_a_server_that_is_away_is_reported_and_met_again(own_mariadb):
    with MySQLTaskStorage(own_mariadb.url("mysql")) as storage:
        identity = storage.server_identity()
        assert storage.server_identity() == identity
        own_mariadb.kill()
        with pytest.raises(StorageUnavailable) as caught:
            storage.now_ms()
        assert own_mariadb.password not in str(caught.value)
        assert str(own_mariadb.port) in str(caught.value)
        own_mariadb.restart()
        assert storage.now_ms() > 0
        with contextlib.closing(own_mariadb.client()) as admin:
            fetch(admin, "SET GLOBAL server_id = 4711")
        assert storage.server_identity() != identity


def test_a_forked_child_opens_connections_of_its_own(mysql_url):
    code = """
import os, sys
from mqtasks.model import NewTask, TaskMetadata
from mqtasks.storage.mysql import MySQLTaskStorage

def create(name):
    storage.create_tasks([NewTask(TaskMetadata(name, "work"))])

storage = MySQLTaskStorage(sys.argv[1])
create("before")
child = os.fork()
create("child" if child == 0 else "parent")
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
create("after")
print(sorted(task.metadata.id for task in storage.query()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, mysql_url], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['after', 'before', 'child', 'parent']"
