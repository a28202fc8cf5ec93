"""What MySQL's errors become: one place, clear words, no password."""

from __future__ import annotations

import contextlib

import pymysql
import pytest

from mqtasks.conditions import where
from mqtasks.errors import (
    ConfigError,
    InvalidArgument,
    SchemaMismatch,
    StorageConflict,
    StorageError,
    StorageUnavailable,
)
from mqtasks.model import NewTask, TaskMetadata
from mqtasks.storage.mysql import MySQLTaskStorage
from mqtasks.storage.mysql.errors import classify
from mqtasks.storage.sql.dialect import Kind
from tests.support.servers import free_port

SHOWN = "mysql://u:***@db:3306/tasks"

CASES = {
    Kind.CONFLICT: (StorageConflict, [1020, 1205, 1213]),
    Kind.LOST: (StorageUnavailable, [2006, 2013, 2014, 2055, 4031, 1927, 0]),
    Kind.REFUSED: (
        StorageUnavailable,
        [2002, 2003, 2005, 1040, 1053, 1290, 1792, 1836, 1203, 1021, 1047, 1317],
    ),
}


@pytest.mark.parametrize(
    ("kind", "error", "code"),
    [(kind, error, code) for kind, (error, codes) in CASES.items() for code in codes],
)
def test_what_may_pass_is_told_from_what_stays(kind, error, code):
    failure = classify(pymysql.err.OperationalError(code, "the server said so"), SHOWN)
    assert failure.kind is kind
    assert type(failure.error) is error
    assert SHOWN in str(failure.error)


@pytest.mark.parametrize(
    ("code", "error", "remedy"),
    [
        (1045, ConfigError, "password is wrong"),
        (1044, ConfigError, "GRANT"),
        (1049, ConfigError, "CREATE DATABASE"),
        (1142, ConfigError, "GRANT"),
        (1146, SchemaMismatch, "mqtasks migrate up"),
        (1054, SchemaMismatch, "mqtasks migrate up"),
        (1264, InvalidArgument, "the server said so"),
        (1064, StorageError, "the server said so"),
    ],
)
def test_what_stays_names_its_remedy(code, error, remedy):
    failure = classify(pymysql.err.OperationalError(code, "the server said so"), SHOWN)
    assert failure.kind is Kind.FATAL
    assert type(failure.error) is error
    assert remedy in str(failure.error)


def test_errors_without_a_number_are_judged_too():
    assert classify(ConnectionResetError(104, "reset"), SHOWN).kind is Kind.LOST
    assert classify(TimeoutError("timed out"), SHOWN).kind is Kind.LOST
    assert classify(pymysql.err.InterfaceError(0, ""), SHOWN).kind is Kind.LOST
    wrong = pymysql.err.InternalError("Packet sequence number wrong - got 3 expected 1")
    assert classify(wrong, SHOWN).kind is Kind.LOST


def test_a_demoted_primary_is_said_to_be_read_only():
    failure = classify(pymysql.err.OperationalError(1290, "--read-only"), SHOWN)
    assert "runs read-only" in str(failure.error)


def failing(url):
    with MySQLTaskStorage(url) as storage, pytest.raises((StorageError, ConfigError)) as caught:
        storage.now_ms()
    return caught.value


def test_a_wrong_password(mariadb):
    url = mariadb.url("mysql").replace(mariadb.password, "not-the-p4ssword")
    error = failing(url)
    assert isinstance(error, ConfigError)
    assert "user or password is wrong" in str(error)
    assert "not-the-p4ssword" not in str(error)


def test_an_unknown_database(mariadb):
    error = failing(mariadb.url("no_such_database"))
    assert isinstance(error, ConfigError)
    assert "CREATE DATABASE" in str(error)


def test_a_host_that_does_not_exist():
    error = failing("mysql://u:s3cret@no-such-host.invalid/db")
    assert isinstance(error, StorageUnavailable)
    assert "host name cannot be resolved" in str(error)
    assert "s3cret" not in str(error)


def test_a_port_where_nobody_listens():
    error = failing(f"mysql://u:s3cret@127.0.0.1:{free_port()}/db")
    assert isinstance(error, StorageUnavailable)
    assert "is the server running" in str(error)


def test_a_login_that_needs_another_package_names_it(monkeypatch):
    """MySQL 8 asks for caching_sha2_password, which the driver does not do alone without TLS."""

    def connect(**arguments):
        raise RuntimeError("'cryptography' package is required for caching_sha2_password")

    monkeypatch.setattr("mqtasks.storage.mysql.pool.pymysql.connect", connect)
    error = failing("mysql://u:s3cret@127.0.0.1/db")
    assert isinstance(error, ConfigError)
    assert "cryptography" in str(error)
    assert "?ssl=require" in str(error)


def test_a_missing_table_names_the_command(empty_mysql_url):
    with (
        MySQLTaskStorage(empty_mysql_url) as storage,
        pytest.raises(SchemaMismatch, match="run: mqtasks migrate up"),
    ):
        storage.create_tasks([NewTask(TaskMetadata("a", "work"))])


def test_a_task_larger_than_the_server_takes_is_refused_before_it_is_sent(own_mariadb):
    with contextlib.closing(own_mariadb.client()) as admin:
        admin.query("SET GLOBAL max_allowed_packet = 1048576")
    own_mariadb.create_database("tasks")
    from mqtasks.storage import migrate

    with MySQLTaskStorage(own_mariadb.url("tasks")) as storage:
        migrate.up(storage)
        good = NewTask(TaskMetadata("good", "work", bytes(400_000)))
        storage.create_tasks([good])
        bad = NewTask(TaskMetadata("bad", "work", bytes(600_000)))
        with pytest.raises(InvalidArgument, match="max_allowed_packet"):
            storage.create_tasks([bad])
        more = [NewTask(TaskMetadata(f"t{n}", "work", bytes(100_000))) for n in range(50)]
        assert all(item.is_new for item in storage.create_tasks(more)), "five per statement"
        assert len(storage.query(where.limit(100))) == 51


def test_a_server_that_turns_read_only_is_reported(own_mariadb):
    own_mariadb.create_database("tasks")
    from mqtasks.storage import migrate

    with contextlib.closing(own_mariadb.client()) as admin:
        admin.query("CREATE USER worker@'127.0.0.1' IDENTIFIED BY 'pw'")
        admin.query("GRANT SELECT, INSERT, UPDATE, DELETE ON tasks.* TO worker@'127.0.0.1'")
        with MySQLTaskStorage(own_mariadb.url("tasks")) as storage:
            migrate.up(storage)
        url = f"mysql://worker:pw@127.0.0.1:{own_mariadb.port}/tasks"
        with MySQLTaskStorage(url) as storage:
            storage.create_tasks([NewTask(TaskMetadata("a", "work"))])
            admin.query("SET GLOBAL read_only = 1")
            with pytest.raises(StorageUnavailable, match="read-only"):
                storage.create_tasks([NewTask(TaskMetadata("b", "work"))])
            admin.query("SET GLOBAL read_only = 0")
            storage.create_tasks([NewTask(TaskMetadata("b", "work"))])
