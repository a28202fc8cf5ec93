"""Connections as callers have them, one maker per library: the matrix of the transaction tests.

mysqlclient is built from source, so it is no development dependency: with it installed (Debian:
``apt-get install libmariadb-dev pkg-config gcc``, then ``pip install mysqlclient``) set
MQTASKS_TEST_MYSQLDB=1, and the same tests run over it, too.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pymysql

from mqtasks.storage.mysql.address import parse_address


class Caller:
    """One library's connection: ``target`` is what a user passes to mqtasks."""

    def __init__(
        self,
        target: Any,
        execute: Callable[[str], Any],
        commit: Callable[[], Any],
        rollback: Callable[[], Any],
        hook: bool = False,
    ) -> None:
        self.target = target
        self.execute = execute
        self.commit = commit
        self.rollback = rollback
        self.hook = hook


def arguments(url: str) -> dict[str, Any]:
    """Return what ``connect`` of both MySQL drivers takes."""
    address = parse_address(url)
    return {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "password": address.password,
        "database": address.database,
    }


def _dbapi(connection: Any) -> Caller:
    def execute(sql: str) -> Any:
        cursor = connection.cursor()
        cursor.execute(sql)
        return cursor.fetchall()

    return Caller(connection, execute, connection.commit, connection.rollback)


@contextlib.contextmanager
def by_pymysql(url: str, **options: Any) -> Iterator[Caller]:
    with contextlib.closing(pymysql.connect(**arguments(url), **options)) as connection:
        yield _dbapi(connection)


@contextlib.contextmanager
def by_mysqldb(url: str, **options: Any) -> Iterator[Caller]:
    import MySQLdb

    with contextlib.closing(MySQLdb.connect(**arguments(url), **options)) as connection:
        yield _dbapi(connection)


@contextlib.contextmanager
def by_sqlite3(url: str, **options: Any) -> Iterator[Caller]:
    path = url.removeprefix("sqlite:///")
    options = {"timeout": 5, "check_same_thread": False} | options
    with contextlib.closing(sqlite3.connect(path, **options)) as connection:
        yield _dbapi(connection)


def _mend_pymysql() -> None:
    """Undo what Django's imports of "MySQLdb.constants" do to the package of that name."""
    for name in ("constants", "converters", "err", "cursors", "connections"):
        setattr(pymysql, name, sys.modules[f"pymysql.{name}"])


def _alchemy_url(url: str) -> str:
    return url.replace("mysql://", "mysql+pymysql://")


@contextlib.contextmanager
def by_sqlalchemy(url: str) -> Iterator[Caller]:
    import sqlalchemy

    engine = sqlalchemy.create_engine(_alchemy_url(url))
    with engine.connect() as connection:

        def execute(sql: str) -> Any:
            result = connection.exec_driver_sql(sql)
            return result.fetchall() if result.returns_rows else []

        def commit() -> None:
            connection.commit()
            connection.begin()  # the hook comes with the next use of the connection
            connection.rollback()

        yield Caller(connection, execute, commit, connection.rollback, hook=True)
    engine.dispose()


@contextlib.contextmanager
def by_session(url: str) -> Iterator[Caller]:
    import sqlalchemy
    from sqlalchemy.orm import Session

    engine = sqlalchemy.create_engine(_alchemy_url(url))
    with Session(engine) as session:

        def execute(sql: str) -> Any:
            result = session.connection().exec_driver_sql(sql)
            return result.fetchall() if result.returns_rows else []

        yield Caller(session, execute, session.commit, session.rollback, hook=True)
    engine.dispose()


def _django_database(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": url.removeprefix("sqlite:///")}
    if "MySQLdb" not in sys.modules and "MQTASKS_TEST_MYSQLDB" not in os.environ:
        pymysql.install_as_MySQLdb()  # Django's MySQL backend knows no other driver
    place = arguments(url)
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": place["database"],
        "USER": place["user"],
        "PASSWORD": place["password"],
        "HOST": place["host"],
        "PORT": str(place["port"]),
    }


@contextlib.contextmanager
def by_django(url: str) -> Iterator[Caller]:
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(DATABASES={}, USE_TZ=True, LOGGING_CONFIG=None)
        django.setup()
    database = _django_database(url)
    from django.db import transaction
    from django.db.utils import ConnectionHandler

    handler = ConnectionHandler({"default": database})
    connection = handler["default"]
    connection.set_autocommit(True)
    _mend_pymysql()
    import django.db

    before = django.db.connections
    django.db.connections = transaction.connections = handler
    block: list[Any] = []

    def enter() -> None:
        if not block:
            block.append(transaction.atomic())
            block[0].__enter__()

    def execute(sql: str) -> Any:
        enter()
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def leave(*error: Any) -> None:
        if block:
            block.pop().__exit__(*(error or (None, None, None)))

    def rollback() -> None:
        if block:
            connection.set_rollback(True)
            leave()

    try:
        yield Caller(connection, execute, leave, rollback, hook=True)
    finally:
        rollback()
        connection.close()
        django.db.connections = transaction.connections = before


MYSQL: dict[str, Callable[..., Any]] = {
    "pymysql": by_pymysql,
    "sqlalchemy": by_sqlalchemy,
    "session": by_session,
    "django": by_django,
}
if os.environ.get("MQTASKS_TEST_MYSQLDB"):
    MYSQL["mysqldb"] = by_mysqldb
SQLITE: dict[str, Callable[..., Any]] = {
    "sqlite3": by_sqlite3,
    "sqlalchemy": by_sqlalchemy,
    "session": by_session,
    "django": by_django,
}
CASES = [("mysql", name) for name in MYSQL] + [("sqlite", name) for name in SQLITE]


def caller_of(case: tuple[str, str], url: str) -> Any:
    """Return the context manager of a connection of a case."""
    database, name = case
    return (MYSQL if database == "mysql" else SQLITE)[name](url)
