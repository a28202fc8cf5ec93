"""Migrations: a fresh schema equals all of them applied, and nobody runs on an unknown one."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from mqtasks.errors import SchemaMismatch, StorageConflict
from mqtasks.storage import migrate, storage_from_url
from mqtasks.storage.memory import MemoryTaskStorage
from mqtasks.storage.mysql import MySQLTaskStorage
from mqtasks.storage.sqlite import SQLiteTaskStorage, files

KNOWN = {name: [step.version for step in migrate.migrations(name)] for name in ("mysql", "sqlite")}


@pytest.fixture
def mysql_client(mariadb, empty_mysql_url):
    name = empty_mysql_url.rsplit("/", 1)[1]
    with contextlib.closing(mariadb.client(name)) as client, client.cursor() as cursor:
        yield cursor


def mysql_schema(cursor):
    cursor.execute("SHOW TABLES")
    tables = {}
    for (table,) in cursor.fetchall():
        cursor.execute(f"SHOW CREATE TABLE `{table}`")
        tables[table] = re.sub(r" AUTO_INCREMENT=\d+", "", cursor.fetchone()[1])
    return tables


def sqlite_schema(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT type, name, sql FROM sqlite_master"))


def test_a_fresh_mysql_schema_equals_all_migrations_applied_by_hand(
    mariadb, mysql_client, empty_mysql_url
):
    with MySQLTaskStorage(empty_mysql_url) as storage:
        migrate.up(storage)
    fresh = mysql_schema(mysql_client)
    mysql_client.execute("SELECT DATABASE()")
    (name,) = mysql_client.fetchone()
    mariadb.create_database(name)
    mysql_client.execute(f"USE `{name}`")
    for statement in migrate.pending_sql("mysql").split(";\n"):
        if re.sub(r"(?m)^\s*--.*$", "", statement).strip():
            mysql_client.execute(statement)
    by_hand = mysql_schema(mysql_client)
    assert fresh.pop("mqtasks_schema_version")
    assert by_hand == fresh
    assert "mqtasks_task" in fresh


def test_a_fresh_sqlite_schema_equals_all_migrations_applied_by_hand(tmp_path):
    SQLiteTaskStorage(tmp_path / "fresh.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "by hand.db")) as connection:
        connection.executescript(migrate.pending_sql("sqlite"))
    fresh = sqlite_schema(tmp_path / "fresh.db")
    extra = {item for item in fresh if "mqtasks_schema_version" in item[1]}
    assert sqlite_schema(tmp_path / "by hand.db") == fresh - extra
    assert extra


@pytest.mark.parametrize("dialect", ["mysql", "sqlite"])
def test_both_dialects_have_the_same_steps(dialect):
    steps = [(step.version, step.name) for step in migrate.migrations(dialect)]
    assert steps == [(step.version, step.name) for step in migrate.migrations("mysql")]
    assert [version for version, _ in steps] == list(range(1, len(steps) + 1))


def test_mysql_is_never_migrated_silently(empty_mysql_url, mysql_client):
    with MySQLTaskStorage(empty_mysql_url) as storage:
        with pytest.raises(SchemaMismatch, match="mqtasks migrate up"):
            storage.check_schema()
        with pytest.raises(SchemaMismatch, match="mqtasks migrate up"):
            storage.query()
        assert [step.applied_at for step in migrate.status(storage)] == [None] * len(KNOWN["mysql"])
    assert mysql_schema(mysql_client) == {}


def test_up_reports_what_it_did_once(empty_mysql_url):
    with MySQLTaskStorage(empty_mysql_url) as storage:
        before = storage.now_ms()
        applied = migrate.up(storage)
        assert [step.version for step in applied] == KNOWN["mysql"]
        assert all((step.applied_at or 0) >= before for step in migrate.status(storage))
        assert migrate.up(storage) == []
        storage.check_schema()


def test_two_ups_at_once_are_one(empty_mysql_url, mysql_client):
    with contextlib.ExitStack() as opened, ThreadPoolExecutor(4) as threads:
        storages = [opened.enter_context(MySQLTaskStorage(empty_mysql_url)) for _ in range(4)]
        applied = list(threads.map(migrate.up, storages))
    assert sorted(map(len, applied)) == [0, 0, 0, len(KNOWN["mysql"])]
    assert "mqtasks_cron_task" in mysql_schema(mysql_client)


def test_two_processes_may_create_one_sqlite_file(tmp_path):
    path = tmp_path / "tasks.db"
    with ThreadPoolExecutor(4) as threads:
        for storage in threads.map(SQLiteTaskStorage, [path] * 4):
            assert [step.version for step in migrate.status(storage)] == KNOWN["sqlite"]
            storage.close()


def test_a_file_that_is_created_while_it_is_looked_for_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "tasks.db"

    is_absent = files.is_absent

    def create(_path: str) -> bool:
        monkeypatch.setattr(files, "is_absent", is_absent)
        SQLiteTaskStorage(path).close()
        return False

    monkeypatch.setattr(files, "is_absent", create)
    with SQLiteTaskStorage(path, create=False) as storage:
        assert storage.query() == []


def test_a_migration_that_was_cut_off_is_finished_by_the_next_up(empty_mysql_url, mysql_client):
    """MySQL commits each definition by itself, so a crash leaves the first tables behind."""
    half = migrate.migrations("mysql")[0].statements()[:2]
    for statement in half:
        mysql_client.execute(statement)
    with MySQLTaskStorage(empty_mysql_url) as storage:
        migrate.up(storage)
        storage.check_schema()
        assert storage.query() == []


def test_a_migration_waits_for_another_one_only_so_long(
    mariadb, empty_mysql_url, mysql_client, monkeypatch
):
    monkeypatch.setattr("mqtasks.storage.mysql.storage._MIGRATION_WAIT", 1)
    with (
        MySQLTaskStorage(empty_mysql_url) as storage,
        MySQLTaskStorage(empty_mysql_url) as other,
        storage.migrating(),
        pytest.raises(StorageConflict, match="another `mqtasks migrate`"),
    ):
        migrate.up(other)
    assert mysql_schema(mysql_client) == {}


def test_a_schema_from_the_future_is_refused(mysql_url, mariadb):
    with MySQLTaskStorage(mysql_url) as storage:
        with contextlib.closing(mariadb.client(mysql_url.rsplit("/", 1)[1])) as client:
            client.query("INSERT INTO mqtasks_schema_version VALUES (9999, 'pre_later', 1)")
        for call in (storage.check_schema, lambda: migrate.up(storage)):
            with pytest.raises(SchemaMismatch, match=r"newer than this release.*upgrade mqtasks"):
                call()
        assert migrate.status(storage)[-1].name == "pre_later"
        with contextlib.closing(mariadb.client(mysql_url.rsplit("/", 1)[1])) as client:
            client.query("DELETE FROM mqtasks_schema_version WHERE version = 9999")


def test_a_sqlite_file_from_the_future_is_refused(tmp_path):
    path = tmp_path / "tasks.db"
    SQLiteTaskStorage(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO mqtasks_schema_version VALUES (9999, 'pre_later', 1)")
        connection.commit()
    with pytest.raises(SchemaMismatch, match="newer than this release"):
        SQLiteTaskStorage(path)


def test_post_steps_may_wait(monkeypatch, tmp_path):
    """Workers of two releases meet one schema: `post` is applied when the old ones are gone."""
    path = tmp_path / "tasks.db"
    SQLiteTaskStorage(path).close()
    steps = {
        "post": migrate.Migration(9001, "post_cleanup", "DROP TABLE nothing;\n"),
        "pre": migrate.Migration(9001, "pre_addition", "CREATE TABLE something (a INTEGER);\n"),
    }
    known = migrate.migrations("sqlite")
    with SQLiteTaskStorage(path) as storage:
        monkeypatch.setattr(migrate, "migrations", lambda _: (*known, steps["post"]))
        storage.check_schema()
        monkeypatch.setattr(migrate, "migrations", lambda _: (*known, steps["pre"]))
        with pytest.raises(SchemaMismatch, match=r"older than this release.*9001_pre_addition"):
            storage.check_schema()
        assert [step.version for step in migrate.up(storage)] == [9001]
        storage.check_schema()


def test_a_step_that_fails_leaves_a_sqlite_file_as_it_was(monkeypatch, tmp_path):
    path = tmp_path / "tasks.db"
    SQLiteTaskStorage(path).close()
    before = sqlite_schema(path)
    known = migrate.migrations("sqlite")
    bad = migrate.Migration(9001, "pre_bad", "CREATE TABLE extra (a INTEGER);\nCREATE NONSENSE;\n")
    with SQLiteTaskStorage(path) as storage:
        monkeypatch.setattr(migrate, "migrations", lambda _: (*known, bad))
        with pytest.raises(Exception, match="NONSENSE"):
            migrate.up(storage)
        assert migrate.status(storage)[-1].applied_at is None
    assert sqlite_schema(path) == before


def test_memory_has_no_schema():
    storage = MemoryTaskStorage()
    assert migrate.status(storage) == []
    assert migrate.up(storage) == []
    migrate.demand_current(storage)


def test_a_url_for_migrations_is_the_url_for_everything(empty_mysql_url):
    storage = storage_from_url(empty_mysql_url)
    try:
        assert [step.version for step in migrate.up(storage)] == KNOWN["mysql"]
    finally:
        storage.close()
