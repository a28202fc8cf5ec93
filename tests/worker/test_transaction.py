"""Completing in the executor's own transaction: with its writes, or not at all (W3, P9, P10)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from typing import Any

import pytest

from mqtasks import MQTasks
from mqtasks.clock import ManualClock
from mqtasks.config import Settings
from mqtasks.errors import InvalidTask, PayloadTooLarge, StorageUnavailable, TransactionAborted
from mqtasks.events import bus
from mqtasks.model import AttemptOutcome, TaskStatus
from mqtasks.storage.mysql import MySQLTaskStorage
from mqtasks.storage.sqlite import SQLiteTaskStorage
from mqtasks.worker import RunnerOptions, TaskRunner, current_context
from mqtasks.worker.definitions import executor_of
from mqtasks.worker.held import Cancel
from tests.support.callers import CASES, caller_of
from tests.worker.rig import Rig


@pytest.fixture(params=CASES, ids="-".join)
def case(request):
    return request.param


@pytest.fixture
def rig(case, request):
    url = request.getfixturevalue(f"{case[0]}_url")
    made = MySQLTaskStorage if case[0] == "mysql" else SQLiteTaskStorage
    clock = ManualClock()
    with contextlib.closing(made(url.removeprefix("sqlite:///"), clock)) as storage:
        yield Rig(storage, clock)


@pytest.fixture
def caller(case, request, rig):
    with caller_of(case, request.getfixturevalue(f"{case[0]}_url")) as caller:
        caller.execute("CREATE TABLE notes (body VARCHAR(20))")
        caller.commit()
        try:
            yield caller
        finally:
            caller.rollback()
            caller.execute("DROP TABLE notes")
            caller.commit()


def write(caller, case):
    """Write one row of the user's, by the driver: the block has opened the transaction."""
    target = caller.target
    if case[1] in {"session", "sqlalchemy"}:
        caller.execute("INSERT INTO notes VALUES ('mine')")
    else:
        target.cursor().execute("INSERT INTO notes VALUES ('mine')")


def notes(caller):
    found = len(caller.execute("SELECT * FROM notes"))
    caller.rollback()
    return found


def test_w3_writes_and_completion_commit_together(rig, caller, case):
    [task_id] = rig.give()
    seen = []

    def act(ctx, _task):
        with ctx.transaction(caller.target) as block:
            write(caller, case)
            block.result = b"42"
            seen.append(rig.task(task_id).status)
        seen.append(rig.task(task_id).status)
        # What follows the block cannot take it back, and storage's silence about it is no loss.
        rig.fetch()
        seen.append(ctx.cancelled)
        raise RuntimeError("too late")

    rig.act = act
    rig.run_next()
    rig.commit()
    assert seen == [TaskStatus.RUNNING, TaskStatus.COMPLETED, False]
    stored = rig.task(task_id)
    assert (stored.status, stored.execute_result.value) == (TaskStatus.COMPLETED, b"42")
    assert rig.outcomes(task_id) == []
    assert notes(caller) == 1
    assert len(rig.parts.holdings) == 0
    assert rig.parts.telemetry.completed_total == 1


def test_w3_an_error_in_the_block_rolls_both_back(rig, caller, case):
    [task_id] = rig.give()

    def act(ctx, _task):
        with ctx.transaction(caller.target):
            write(caller, case)
            raise RuntimeError("no")

    rig.act = act
    rig.run_next()
    rig.commit()
    assert rig.outcomes(task_id) == [AttemptOutcome.FAILED]
    assert notes(caller) == 0


def take_away(rig, task_id, end):
    if end == "canceled":
        assert rig.storage.cancel_many([task_id]).requested
    elif end == "reassigned":
        rig.lapse()
    else:
        rig.parts.canceller.cancel(rig.parts.holdings.get(task_id), Cancel.TIMEOUT)


@pytest.mark.parametrize("end", ["reassigned", "canceled", "timeout"])
def test_w3_a_zombies_writes_roll_back_with_its_refused_completion(rig, caller, case, end):
    """The executor is held at a latch in its block while its task is taken away."""
    inside, gone = threading.Event(), threading.Event()
    # SQLite's only write lock is the block's: there the task is taken before the block begins.
    latched = rig.storage.capabilities.concurrent_writers
    [task_id] = rig.give(timeout=100.0)

    def other():
        assert inside.wait(20)
        take_away(rig, task_id, end)
        gone.set()

    def act(ctx, _task):
        if not latched:
            take_away(rig, task_id, end)
        with ctx.transaction(caller.target):
            write(caller, case)
            inside.set()
            assert not latched or gone.wait(20)

    errors = record_errors(rig, act)
    # The caller's connection belongs to this thread; another one takes the task away.
    thread = threading.Thread(target=other if latched else inside.wait)
    thread.start()
    rig.run_next()
    thread.join(20)
    assert notes(caller) == 0
    rig.commit()
    [error] = errors
    if end == "timeout":
        assert "timeout" in str(error)
        assert rig.outcomes(task_id) == [AttemptOutcome.TIMED_OUT]
        return
    assert isinstance(error, InvalidTask)
    assert {"reassigned": "reassigned", "canceled": "cancellation was requested"}[end] in str(error)
    status = rig.task(task_id).status
    assert status is (TaskStatus.CANCELED if end == "canceled" else TaskStatus.CREATED)


def record_errors(rig, act):
    """Let the executor do ``act``; return the list that gets what it raises."""
    errors: list[BaseException] = []

    def recording(ctx, task):
        try:
            return act(ctx, task)
        except BaseException as error:
            errors.append(error)
            raise

    rig.act = recording
    return errors


def test_g5_complete_leaves_the_commit_to_the_caller(rig, caller, case):
    [kept, dropped] = rig.give(2)

    def act(ctx, task):
        caller.execute("INSERT INTO notes VALUES ('mine')")
        ctx.complete(b"%d" % task.id, connection=caller.target)
        (caller.commit if task.id == kept else caller.rollback)()

    rig.act = act
    rig.run_next()
    rig.run_next()
    rig.commit()
    assert rig.task(kept).execute_result.value == str(kept).encode()
    assert rig.outcomes(dropped) == [AttemptOutcome.FAILED]
    [attempt] = rig.storage.attempts(dropped)
    assert "was not committed" in attempt.error
    assert notes(caller) == 1


@pytest.mark.parametrize("result", [b"raw", {"paid": 3}, None])
def test_w3_the_result_of_the_block_is_what_the_handle_returns(sqlite_url, result):
    ended = threading.Event()
    stop = bus.subscribe("task.finished", lambda *_: ended.set())
    app = MQTasks(settings=Settings.load(url=sqlite_url, environ={}))

    @app.task
    async def pay(path: str) -> Any:
        context = current_context()

        def work() -> None:
            with (
                contextlib.closing(sqlite3.connect(path)) as connection,
                context.transaction(connection) as block,
            ):
                block.result = result

        await asyncio.to_thread(work)

    with app:
        runner = TaskRunner("r", app.service, RunnerOptions(heartbeat="thread"))
        runner.register_executor("pay", executor_of(app.registry.require("pay")))
        with runner:
            handle = pay.enqueue(sqlite_url.removeprefix("sqlite:///"))
            app.service.allocate(handle.fetch(), "r")
            assert ended.wait(20)
            assert handle.result(0) == result
    stop()


@pytest.mark.parametrize("case", [("sqlite", "sqlite3")], ids="-".join, indirect=True)
def test_w3_a_result_over_the_limit_rolls_back(rig, caller, case):
    [task_id] = rig.give()

    def act(ctx, _task):
        with ctx.transaction(caller.target) as block:
            write(caller, case)
            block.result = bytes(rig.service.max_payload_bytes + 1)

    errors = record_errors(rig, act)
    rig.run_next()
    rig.commit()
    assert [type(error) for error in errors] == [PayloadTooLarge]
    assert rig.outcomes(task_id) == [AttemptOutcome.FAILED]
    assert notes(caller) == 0


# -- unknown outcomes ----------------------------------------------------------------------------


class Cut:
    """A connection whose COMMIT is answered by nothing; the server has, or has not, done it."""

    def __init__(self, monkeypatch, connection, done):
        real = connection.commit

        def commit():
            if done:
                real()
            connection._force_close()
            raise connection.OperationalError(2013, "Lost connection to server during query")

        monkeypatch.setattr(connection, "commit", commit)


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("case", [("mysql", "pymysql")], ids="-".join, indirect=True)
def test_p10_the_row_tells_what_a_lost_commit_did(rig, case, mysql_url, monkeypatch, done):
    [task_id] = rig.give(max_retry_times=1)
    with caller_of(case, mysql_url) as caller, caller_of(case, mysql_url) as other:
        other.execute("CREATE TABLE notes (body VARCHAR(20))")
        try:

            def act(ctx, _task):
                Cut(monkeypatch, caller.target, done)
                with ctx.transaction(caller.target) as block:
                    write(caller, case)
                    block.result = "sent"

            errors = record_errors(rig, act)
            rig.run_next()
            rig.commit()
            assert notes(other) == int(done)
            status = rig.task(task_id).status
            assert status is (TaskStatus.COMPLETED if done else TaskStatus.SCHEDULED)
            assert [type(error) for error in errors] == [TransactionAborted] * int(not done)
            assert rig.outcomes(task_id) == ([] if done else [AttemptOutcome.FAILED])
        finally:
            other.execute("DROP TABLE notes")
            with contextlib.suppress(Exception):
                caller.target._force_close()


@pytest.mark.parametrize("case", [("mysql", "pymysql")], ids="-".join, indirect=True)
def test_p10_a_commit_that_nobody_can_ask_about_is_settled_by_the_next_write(
    rig, case, mysql_url, monkeypatch
):
    """Storage is away when it is asked; the failure that is written later finds the success."""
    [task_id] = rig.give()
    with caller_of(case, mysql_url) as caller:
        load = rig.storage.load

        def away(_ids):
            raise StorageUnavailable("away")

        def act(ctx, _task):
            Cut(monkeypatch, caller.target, done=True)
            rig.storage.load = away
            with ctx.transaction(caller.target):
                pass

        rig.act = act
        rig.run_next()
        rig.storage.load = load
        rig.commit()
        stored = rig.task(task_id)
        assert (stored.status, stored.execute_result.code) == (TaskStatus.COMPLETED, 0)
        assert rig.outcomes(task_id) == []
        assert rig.parts.telemetry.lost_total == 1
