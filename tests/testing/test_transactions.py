"""Transactions of the caller's: tasks that follow their fate, and completions within them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from mqtasks import MQTasks, TaskStatus
from mqtasks.testing import TaskTester, every_crash_point, inline, manual
from mqtasks.worker import current_context
from tests.testing import shop


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://", poolclass=StaticPool)
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE orders (name TEXT PRIMARY KEY)"))
    yield made
    made.dispose()


@pytest.fixture
def bare() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE orders (name TEXT PRIMARY KEY)")
    yield connection
    connection.close()


def test_a_committed_session_brings_its_tasks(mqtasks_app: TaskTester, engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(text("INSERT INTO orders VALUES ('a')"))
        handle = shop.note.options(connection=session).enqueue("a")
        mqtasks_app.refute_enqueued(shop.note)
        assert not mqtasks_app.drain()
        session.commit()

    mqtasks_app.assert_enqueued(shop.note, "a")
    mqtasks_app.drain()
    assert handle.result() == "a"


def test_a_session_that_rolls_back_leaves_nothing(mqtasks_app: TaskTester, engine: Engine) -> None:
    with Session(engine) as session:
        shop.note.options(connection=session, id="order-1").enqueue("a")
        session.rollback()
        assert mqtasks_app.drain().stuck == ()
        mqtasks_app.refute_enqueued(shop.note)

        # The same name may be used again: the first one was never there.
        shop.note.options(connection=session, id="order-1").enqueue("b")
        session.commit()
    mqtasks_app.drain()

    assert shop.events == ["b"]


def test_a_delay_survives_the_commit(mqtasks_app: TaskTester, engine: Engine) -> None:
    with engine.begin() as connection:
        shop.note.options(connection=connection, delay=60).enqueue("a")

    assert [one.seconds for one in mqtasks_app.drain().scheduled] == [60.0]
    mqtasks_app.assert_enqueued(shop.note, delay=60)


def test_inline_tasks_run_after_the_commit(engine: Engine) -> None:
    shop.events.clear()
    with inline(shop.app), Session(engine) as session:
        shop.note.options(connection=session).enqueue("a")
        assert shop.events == []
        session.commit()
        assert shop.events == ["a"]


def test_a_bare_driver_must_be_spoken_for(
    mqtasks_app: TaskTester, bare: sqlite3.Connection
) -> None:
    bare.execute("INSERT INTO orders VALUES ('a')")
    shop.note.options(connection=bare).enqueue("a")
    bare.commit()

    assert "call committed()" in mqtasks_app.drain().stuck[0].why
    mqtasks_app.committed()
    assert len(mqtasks_app.drain()) == 1


def test_a_completion_commits_with_the_writes(
    mqtasks_app: TaskTester, bare: sqlite3.Connection
) -> None:
    @shop.app.task(name=f"booking-{id(mqtasks_app)}")
    def booking(name: str) -> None:
        with current_context().transaction(bare) as block:
            bare.execute("INSERT INTO orders VALUES (?)", (name,))
            shop.note.options(connection=bare).enqueue(name)
            block.result = f"booked {name}"

    with mqtasks_app.crash("after_run", task=booking):
        handle = booking.enqueue("a")
        report = mqtasks_app.drain()

    # It died after its commit, so it is not run again.
    assert [one.ended for one in report.ran] == ["crashed", "succeeded"]
    assert (handle.status(), handle.fetch().epoch) == (TaskStatus.COMPLETED, 1)
    assert bare.execute("SELECT name FROM orders").fetchall() == [("a",)]
    assert shop.events == ["a"]


def test_a_block_that_raises_rolls_back(mqtasks_app: TaskTester, engine: Engine) -> None:
    @shop.app.task(name=f"refused-{id(mqtasks_app)}")
    def refused() -> None:
        with engine.connect() as connection, current_context().transaction(connection):
            connection.execute(text("INSERT INTO orders VALUES ('a')"))
            raise ValueError("no")

    refused.enqueue()

    assert mqtasks_app.drain().failed[0].reason == "ValueError: no"
    with engine.connect() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM orders")).scalar() == 0


def test_a_completion_in_a_session_that_the_task_commits(
    mqtasks_app: TaskTester, engine: Engine
) -> None:
    @shop.app.task(name=f"session-{id(mqtasks_app)}")
    def session_task() -> str | None:
        with Session(engine) as session:
            session.execute(text("INSERT INTO orders VALUES ('a')"))
            current_context().complete("done", connection=session)
            session.commit()
        return None  # what it returns does not count any more

    handle = session_task.enqueue()
    mqtasks_app.drain()

    assert handle.result() == "done"


def test_what_cannot_commit_is_refused(mqtasks_app: TaskTester) -> None:
    @shop.app.task(name=f"senseless-{id(mqtasks_app)}")
    def senseless() -> None:
        with current_context().transaction("no connection"):
            pass

    senseless.enqueue()

    assert "it cannot commit" in mqtasks_app.drain().failed[0].reason


app = MQTasks("mysql://nobody@127.0.0.1:1/nothing")
database = ""


@app.task
def deposit(amount: int) -> None:
    connection = sqlite3.connect(database)
    try:
        with current_context().transaction(connection):
            connection.execute("UPDATE account SET balance = balance + ?", (amount,))
    finally:
        connection.close()


@pytest.mark.parametrize("where", ["memory", "same file"])
def test_a_transaction_applies_once_at_every_crash_point(tmp_path: Path, where: str) -> None:
    global database  # noqa: PLW0603 - as a setting of the application under test
    database = str(tmp_path / "bank.db")

    def scenario(_tasks: TaskTester) -> None:
        with sqlite3.connect(database) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS account (balance INTEGER)")
            connection.execute("DELETE FROM account")
            connection.execute("INSERT INTO account VALUES (0)")
        connection.close()
        deposit.enqueue(10)
        deposit.enqueue(5)

    def invariant(_state: None) -> None:
        connection = sqlite3.connect(database)
        assert connection.execute("SELECT balance FROM account").fetchall() == [(15,)]
        connection.close()

    url = "memory://" if where == "memory" else f"sqlite:///{database}"
    assert every_crash_point(app, scenario, invariant, url=url) == 8


def test_tasks_are_part_of_a_real_transaction_on_the_same_file(sqlite_url: str) -> None:
    shop.events.clear()
    connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    with manual(shop.app, url=sqlite_url) as tasks:
        for commit in (False, True):
            connection.execute("BEGIN")
            shop.note.options(connection=connection).enqueue(commit)
            (connection.commit if commit else connection.rollback)()
        tasks.drain()
    connection.close()

    assert shop.events == [True]
