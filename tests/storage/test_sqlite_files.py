"""SQLite files: durability, several processes, full disks, wrong places, long waits (P13)."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mqtasks.clock import ManualClock
from mqtasks.errors import (
    ConfigError,
    SchemaMismatch,
    StorageConflict,
    StorageError,
    StorageUnavailable,
)
from mqtasks.model import NewTask, RunnerRecord, TaskMetadata
from mqtasks.storage import migrate
from mqtasks.storage.sql.dialect import Kind
from mqtasks.storage.sqlite import SQLiteTaskStorage
from mqtasks.storage.sqlite.errors import classify


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tasks.db"


@pytest.fixture
def storage(path):
    with SQLiteTaskStorage(path) as storage:
        yield storage


@pytest.fixture
def other(path, storage):
    """A bare connection of somebody else."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def create(storage, *names):
    return storage.create_tasks([NewTask(TaskMetadata(name, "work")) for name in names])


def names(storage):
    return [task.metadata.id for task in storage.query()]


def test_p13_commits_are_durable_and_readers_do_not_wait(storage, other):
    def look(session):
        ask = session.connection.execute
        return [ask(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]

    assert storage.database.transact(look) == ["wal", 2]
    other.execute("BEGIN IMMEDIATE")
    assert storage.query() == []
    other.execute("ROLLBACK")


def test_p13_change_count_tells_every_commit(path, storage, other):
    counts = [storage.change_count()]

    def changed():
        counts.append(storage.change_count())
        return counts[-1] != counts[-2]

    assert not changed()
    create(storage, "a")
    assert changed()
    storage.query()
    storage.now_ms()
    assert not changed()
    other.execute("UPDATE mqtasks_task SET status = 3")
    assert changed()
    with SQLiteTaskStorage(path) as another:
        create(another, "b")
    assert changed()


def test_several_processes_write_one_file(path, storage):
    code = """
import sys
from mqtasks.model import NewTask, TaskMetadata
from mqtasks.storage.sqlite import SQLiteTaskStorage

with SQLiteTaskStorage(sys.argv[1]) as storage:
    for number in range(100):
        storage.create_tasks([NewTask(TaskMetadata(f"{sys.argv[2]}-{number}", "work"))])
"""
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in ("x", "y")
    ]
    for number in range(100):
        create(storage, f"z-{number}")
    assert [child.wait(50) for child in children] == [0, 0]
    assert len(set(names(storage))) == 300


def test_many_threads_share_one_storage(storage):
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda n: create(storage, f"t{n}") and storage.query(), range(60)))
    assert len(names(storage)) == 60


def test_a_clean_close_leaves_one_file(path):
    storage = SQLiteTaskStorage(path)
    create(storage, "a")
    assert storage.change_count() > 0
    storage.close()
    assert [file.name for file in path.parent.iterdir()] == ["tasks.db"]
    storage.close()
    for call in (storage.now_ms, storage.query, storage.change_count, lambda: create(storage, "b")):
        with pytest.raises(StorageUnavailable, match="was closed"):
            call()
    with SQLiteTaskStorage(path) as again:
        assert names(again) == ["a"]


def test_a_full_disk_is_reported_and_harms_nothing(storage):
    create(storage, "a")

    def shrink(session):
        pages = session.connection.execute("PRAGMA page_count").fetchone()[0]
        session.connection.execute(f"PRAGMA max_page_count = {pages}")

    storage.database.transact(shrink)
    big = [NewTask(TaskMetadata(f"big{n}", "work", bytes(100_000))) for n in range(10)]
    with pytest.raises(StorageUnavailable, match=r"disk.*is full"):
        storage.create_tasks(big)
    assert names(storage) == ["a"]


@pytest.mark.parametrize(
    ("code", "error", "kind"),
    [
        (sqlite3.SQLITE_BUSY, StorageConflict, Kind.CONFLICT),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StorageConflict, Kind.CONFLICT),
        (sqlite3.SQLITE_FULL, StorageUnavailable, Kind.REFUSED),
        (sqlite3.SQLITE_IOERR_FSYNC, StorageUnavailable, Kind.REFUSED),
        (sqlite3.SQLITE_READONLY_DIRECTORY, StorageUnavailable, Kind.REFUSED),
        (sqlite3.SQLITE_CORRUPT_INDEX, StorageError, Kind.FATAL),
        (sqlite3.SQLITE_ERROR, StorageError, Kind.FATAL),
    ],
)
def test_errors_are_judged_by_their_code(code, error, kind):
    raised = sqlite3.OperationalError("it said so")
    raised.sqlite_errorcode = code
    failure = classify(raised, "/data/tasks.db")
    assert (type(failure.error), failure.kind) == (error, kind)
    assert "/data/tasks.db" in str(failure.error)


def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"once upon a time " * 1000)
    with pytest.raises(ConfigError, match=f"{path}: the file is no SQLite database"):
        SQLiteTaskStorage(path)


def test_a_file_is_only_created_on_demand(path):
    with contextlib.closing(SQLiteTaskStorage(path, create=False)) as storage:
        with pytest.raises(SchemaMismatch, match=f"{path} does not exist; run: mqtasks migrate up"):
            storage.check_schema()
        for ask in (storage.query, storage.change_count, storage.now_ms):
            with pytest.raises(SchemaMismatch, match="no such file"):
                ask()
        assert not path.exists()
        assert migrate.status(storage)[0].applied_at is None
        assert migrate.up(storage)
        storage.check_schema()
        assert storage.query() == []


def test_a_schema_is_only_updated_on_demand(path):
    path.touch()
    with (
        contextlib.closing(SQLiteTaskStorage(path, create=False)) as storage,
        pytest.raises(SchemaMismatch, match="mqtasks migrate up"),
    ):
        storage.check_schema()
    assert path.stat().st_size == 0


@pytest.mark.parametrize("name", ["a b?c#d%20.db", "ü.db"])
def test_any_file_name_will_do(tmp_path, name):
    with contextlib.closing(SQLiteTaskStorage(tmp_path / name)) as storage:
        assert storage.query() == []
        assert storage.change_count() == storage.change_count()
    assert {file.name for file in tmp_path.iterdir()} == {name}


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(StorageUnavailable, match="cannot be opened"):
        SQLiteTaskStorage(tmp_path)


@pytest.mark.parametrize("path", ["", ":memory:", "file:x?mode=memory"])
def test_a_database_without_a_file_is_refused(path):
    with pytest.raises(ConfigError, match="memory://"):
        SQLiteTaskStorage(path)


@pytest.mark.parametrize(("kind", "fine"), [("nfs4", False), ("cifs", False), ("ext4", True)])
def test_p13_network_file_systems_are_refused(tmp_path, monkeypatch, kind, fine):
    mounts = tmp_path / "mounts"
    place = tmp_path / "my share"
    place.mkdir()
    shown = str(place).replace(" ", "\\040")
    mounts.write_text(f"dev / ext4 rw 0 0\nserver:/x {shown} {kind} rw 0 0\n", "utf-8")
    monkeypatch.setattr("mqtasks.storage.sqlite.files._MOUNTS", mounts)
    with contextlib.ExitStack() as expected:
        if not fine:
            expected.enter_context(pytest.raises(ConfigError, match=f"network.*{kind}"))
        SQLiteTaskStorage(place / "tasks.db").close()


def test_a_file_that_stays_locked_is_a_conflict(path, other, monkeypatch):
    monkeypatch.setattr("mqtasks.storage.sqlite.files.BUSY_TIMEOUT", 0.02)
    with SQLiteTaskStorage(path) as storage:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageConflict, match="locked too long"):
            create(storage, "a")
        other.execute("ROLLBACK")
        assert create(storage, "a")[0].is_new


def test_p13_who_waited_for_the_lock_rescues_nobody_yet(path, other, monkeypatch):
    """While a frozen process held the lock nobody could renew: a lapsed lease proves nothing."""
    clock = ManualClock()
    with SQLiteTaskStorage(path, clock) as storage, ThreadPoolExecutor(1) as threads:
        generation = storage.register_runner(RunnerRecord(id="r1", holder="h"), 1000, 3)
        leadership = storage.acquire_lease("leader", "me", 10**9)
        assert leadership is not None
        identity = storage.server_identity()
        other.execute("BEGIN IMMEDIATE")
        asked = threading.Event()
        monotonic = clock.monotonic

        def note():
            asked.set()
            return monotonic()

        monkeypatch.setattr(clock, "monotonic", note)
        waiting = threads.submit(storage.fence_lapsed, leadership, "r1", generation, 3)
        assert asked.wait(10)
        clock.advance(30)
        other.execute("ROLLBACK")
        assert waiting.result(timeout=10) is None
        assert storage.server_identity() != identity, "whoever judges leases observes anew"
        assert storage.runners()[0].generation == generation
        assert storage.fence_lapsed(leadership, "r1", generation, 3) is not None


def test_another_file_is_another_identity(path, storage):
    identity = storage.server_identity()
    assert storage.server_identity() == identity
    Path(path).unlink()
    with pytest.raises(StorageUnavailable):
        storage.server_identity()
    SQLiteTaskStorage(path).close()
    assert storage.server_identity() != identity


def test_ids_of_deleted_tasks_are_not_used_again(path, storage):
    from mqtasks.conditions import where

    last = create(storage, "a", "b")[-1].task_id
    storage.delete(where.everything())
    assert create(storage, "c")[0].task_id == last + 1


def test_a_forked_child_opens_connections_of_its_own(path):
    code = """
import os, sys
from mqtasks.model import NewTask, TaskMetadata
from mqtasks.storage.sqlite import SQLiteTaskStorage

def create(name):
    storage.create_tasks([NewTask(TaskMetadata(name, "work"))])

storage = SQLiteTaskStorage(sys.argv[1])
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
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['after', 'before', 'child', 'parent']"
