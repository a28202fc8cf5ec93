"""Storages from URLs and addresses, and clear words for wrong ones."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest

from mqtasks.clock import ManualClock
from mqtasks.errors import ConfigError, StorageUnavailable
from mqtasks.storage import (
    FixedTaskStorageFactory,
    MemoryTaskStorage,
    MySQLTaskStorage,
    MySQLTaskStorageFactory,
    SQLiteTaskStorage,
    TaskStorageFactory,
    storage_from_url,
)
from mqtasks.storage.mysql.address import MySQLAddress, address_url, parse_address


@pytest.mark.parametrize(
    ("url", "kind"),
    [("memory://", MemoryTaskStorage), ("mysql://u:p@127.0.0.1/db", MySQLTaskStorage),
     ("mariadb://u@127.0.0.1:3307/db", MySQLTaskStorage)],
)  # fmt: skip
def test_the_scheme_chooses_the_storage(url, kind):
    with contextlib.closing(storage_from_url(url)) as storage:
        assert type(storage) is kind


def test_sqlite_paths_may_be_relative_or_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///my%20tasks.db", f"sqlite:///{tmp_path}/my tasks.db"):
        with contextlib.closing(storage_from_url(url)) as storage:
            assert isinstance(storage, SQLiteTaskStorage)
            assert storage.path == f"{tmp_path}/my tasks.db"


def test_the_clock_is_handed_on(tmp_path):
    clock = ManualClock(now_ms=12_345)
    for url in ("memory://", f"sqlite:///{tmp_path}/t.db"):
        with contextlib.closing(storage_from_url(url, clock)) as storage:
            assert storage.now_ms() == 12_345


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgres://u:secret@host/db", "unknown scheme 'postgres'"),
        ("tasks.db", "no scheme"),
        ("sqlite://tasks.db", "sqlite:///tasks.db"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "memory://"),
        ("mysql://u:secret@host", "name one database"),
        ("mysql://u:secret@host/a/b", "name one database"),
        ("mysql://u:secret@host:x/db", "port"),
        ("mysql://u:secret@host/db?tls=1", "unknown option 'tls'"),
        ("mysql://u:secret@host/db?ssl=maybe", "off, require, verify"),
        ("mysql://u:secret@host/db?connect_timeout=soon", "1 to 3600 seconds"),
    ],
)
def test_a_wrong_url_says_what_to_write_instead(url, words):
    with pytest.raises(ConfigError) as caught:
        storage_from_url(url)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_unknown_option_is_named():
    with pytest.raises(ConfigError, match=r"unknown storage option 'pool'.*pool_size"):
        storage_from_url("memory://", pool=3)


@pytest.mark.parametrize(("option", "value"), [("pool_size", 0), ("heartbeat_timeout", 0.5)])
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(ConfigError, match=option):
        storage_from_url("mysql://u@h/db", **{option: value})


def test_a_missing_folder_is_said_to_be_missing(tmp_path):
    with pytest.raises(StorageUnavailable, match="check that its folder exists"):
        storage_from_url(f"sqlite:///{tmp_path}/nowhere/tasks.db")


def test_the_password_never_shows():
    with MySQLTaskStorage("mysql://u:s3cret@host/db") as storage:
        shown = [repr(storage), repr(storage.address), str(storage.address.shown)]
        shown.append(repr(MySQLTaskStorageFactory("u", "s3cret", "db")))
    assert not any("s3cret" in text for text in shown)
    assert all("***" in text for text in shown)


def test_passwords_and_names_may_hold_any_character():
    url = address_url("us/er@x", "p@ss:/?#%w", "db.example:3307", "my db")
    assert parse_address(url) == MySQLAddress(
        user="us/er@x", password="p@ss:/?#%w", database="my db", host="db.example", port=3307
    )


def test_a_socket_may_be_the_address():
    address = parse_address(address_url("u", "p", "/run/my sql.sock", "db"))
    assert address.arguments()["unix_socket"] == "/run/my sql.sock"
    assert "host" not in address.arguments()


def test_the_options_of_a_url_reach_the_driver():
    arguments = parse_address(
        "mysql://u:p@h/db?ssl=require&connect_timeout=2&read_timeout=7.5"
    ).arguments()
    assert arguments["connect_timeout"] == 2
    assert arguments["read_timeout"] == arguments["write_timeout"] == 7.5
    assert arguments["ssl"].check_hostname is False
    assert parse_address("mysql://u:p@h/db?ssl=verify").arguments()["ssl"].check_hostname is True
    assert "ssl" not in parse_address("mysql://u:p@h/db").arguments()


def test_a_ca_file_that_is_missing_is_named():
    with pytest.raises(ConfigError, match=r"ssl_ca='/no/ca.pem'"):
        parse_address("mysql://u:p@h/db?ssl_ca=/no/ca.pem").arguments()


def test_factories_make_storages(mariadb, mysql_url):
    fixed = MemoryTaskStorage()
    assert FixedTaskStorageFactory(fixed).create("anything") is fixed
    factory = MySQLTaskStorageFactory(mariadb.user, mariadb.password, mysql_url.rsplit("/", 1)[1])
    assert isinstance(factory, TaskStorageFactory)
    with contextlib.closing(factory.create(f"127.0.0.1:{mariadb.port}")) as storage:
        storage.check_schema()


def test_importing_the_package_imports_no_driver():
    code = "import sys, mqtasks.storage.factory; print({'pymysql', 'sqlite3'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
