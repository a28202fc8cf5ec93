"""TaskAborted and work that must not be left half done: transactions, steps, storage, progress."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from queue import SimpleQueue

import pytest

from mqtasks.errors import TaskAborted
from mqtasks.events import bus
from mqtasks.model import AttemptOutcome, ResultCode, TaskMetadata, TaskOptions, TaskStatus
from mqtasks.process.interrupt import Guard, guard_of_thread
from mqtasks.service import TaskService
from mqtasks.storage.sql.joined import SqlJoined
from mqtasks.storage.sqlite import SQLiteTaskStorage
from mqtasks.worker import RunnerOptions, TaskRunner

WAIT = 20


class Bench:
    """A runner on SQLite; ``struck`` is set when TaskAborted was to be raised, or refused."""

    def __init__(self, url, monkeypatch):
        self.path = url.removeprefix("sqlite:///")
        self.service = TaskService(SQLiteTaskStorage(self.path))
        self.storage = self.service.storage
        options = RunnerOptions(
            parallelism=1,
            heartbeat="thread",
            heartbeat_interval=0.3,
            heartbeat_timeout=6.0,
            abort_timeout=0.2,
            cancel_timeout=0.2,
        )
        self.runner = TaskRunner("r", self.service, options)
        self.struck = threading.Event()
        self.ended = threading.Semaphore(0)
        self.abandoned = threading.Event()
        strike = Guard.strike

        def noted(guard, owner, kind):
            done = strike(guard, owner, kind)
            self.struck.set()
            return done

        monkeypatch.setattr(Guard, "strike", noted)
        self._forget = [
            bus.subscribe("task.finished", lambda *_: self.ended.release()),
            bus.subscribe("task.abandoned", lambda *_: self.abandoned.set()),
        ]

    def run(self, act, **options):
        """Run a task with a timeout to its end; return it and its attempts."""
        self.runner.register_executor("work", act)
        self.runner.start()
        chosen = TaskOptions(**{"timeout": 0.2, **options})
        task_id = self.service.create(TaskMetadata("t", "work", b"", chosen))
        self.service.allocate(self.service.get(task_id), "r")
        assert self.ended.acquire(timeout=WAIT)
        return self.service.get(task_id), self.storage.attempts(task_id)

    def close(self):
        self.runner.stop(0)
        for forget in self._forget:
            forget()
        self.service.close()


@pytest.fixture
def bench(sqlite_url, monkeypatch):
    with contextlib.closing(Bench(sqlite_url, monkeypatch)) as made:
        yield made


@pytest.fixture
def notes(bench):
    """A function that counts the rows of a table of the user's."""
    with contextlib.closing(sqlite3.connect(bench.path)) as connection:
        connection.execute("CREATE TABLE notes (body TEXT)")
        connection.commit()

    def count():
        with contextlib.closing(sqlite3.connect(bench.path)) as connection:
            return connection.execute("SELECT count(*) FROM notes").fetchone()[0]

    return count


def transfer(bench, inside):
    """Return an executor that writes and completes in one transaction; ``inside`` comes between."""

    def act(ctx, _task):
        with (
            contextlib.closing(sqlite3.connect(bench.path, isolation_level=None)) as connection,
            ctx.transaction(connection) as block,
        ):
            connection.execute("INSERT INTO notes VALUES ('mine')")
            block.result = b"done"
            inside()

    return act


def until(event):
    def spin():
        while not event.is_set():
            pass

    return spin


def test_an_abortion_in_the_block_rolls_it_back(bench, notes):
    never = threading.Event()
    task, (attempt,) = bench.run(transfer(bench, until(never)))
    assert task.execute_result.code is ResultCode.FAILED
    assert attempt.outcome == AttemptOutcome.TIMED_OUT
    assert "TaskAborted" in attempt.traceback
    assert notes() == 0


def test_a_commit_under_way_is_not_aborted_and_stands(bench, notes, monkeypatch):
    commit = SqlJoined.commit

    def slowly(joined):
        assert bench.struck.wait(WAIT)  # its time is over, and somebody wants to raise
        assert guard_of_thread().depth  # but not here
        sum(range(10_000))
        commit(joined)

    monkeypatch.setattr(SqlJoined, "commit", slowly)
    task, attempts = bench.run(transfer(bench, lambda: None))
    assert (task.status, task.execute_result.value) == (TaskStatus.COMPLETED, b"done")
    assert attempts == []
    assert notes() == 1


def test_a_commit_that_outlasts_its_task_still_decides(bench, notes, monkeypatch):
    """Its end is reported while the commit hangs; the row's lock lets only one of them be true."""
    commit = SqlJoined.commit

    def hanging(joined):
        assert bench.abandoned.wait(WAIT)
        commit(joined)

    settled = threading.Event()
    monkeypatch.setattr(SqlJoined, "commit", hanging)
    on_lost = type(bench.storage).absolve

    def absolve(storage, *given):
        settled.set()  # the outcome of the abandoned task was refused
        return on_lost(storage, *given)

    monkeypatch.setattr(type(bench.storage), "absolve", absolve)
    bench.runner.register_executor("work", transfer(bench, lambda: None))
    bench.runner.start()
    task_id = bench.service.create(TaskMetadata("t", "work", b"", TaskOptions(timeout=0.2)))
    bench.service.allocate(bench.service.get(task_id), "r")
    assert settled.wait(WAIT)
    task = bench.service.get(task_id)
    assert (task.status, task.execute_result.value) == (TaskStatus.COMPLETED, b"done")
    assert notes() == 1


def test_a_step_is_stored_whole_or_not_at_all(bench, monkeypatch):
    save = type(bench.storage).save_step
    inside = []

    def slowly(storage, *given):
        assert bench.struck.wait(WAIT)
        sum(range(10_000))
        inside.append("whole")
        return save(storage, *given)

    monkeypatch.setattr(type(bench.storage), "save_step", slowly)
    reached = []

    def act(ctx, _task):
        ctx.step("first", lambda: 1)
        reached.append("not here")

    task, (attempt,) = bench.run(act)
    assert inside == ["whole"]
    assert [step.name for step in bench.storage.steps(task.id)] == ["first"]
    assert attempt.outcome == AttemptOutcome.TIMED_OUT
    assert reached == []


def test_a_lock_of_ours_is_never_left_locked(bench):
    """Aborted among reports of progress and new tasks, again and again."""
    rounds = 12
    begun: SimpleQueue[None] = SimpleQueue()  # whose put is one step

    def act(ctx, _task):
        begun.put(None)
        for n in range(10**9):
            ctx.report_progress(b"%d" % n)
            if n % 50 == 0:
                bench.service.create(TaskMetadata(f"{ctx.task_id}-{n}", "other"))

    bench.runner.register_executor("work", act)
    bench.runner.start()
    guards = set()
    for n in range(rounds):
        task_id = bench.service.create(TaskMetadata(f"t{n}", "work"))
        bench.service.allocate(bench.service.get(task_id), "r")
        begun.get(timeout=WAIT)
        (held,) = bench.runner._parts.dispatcher.running()
        held.cancel_reason = "timeout"  # as the watchdog does, without the wait
        assert held.guard.strike(held, TaskAborted)
        guards.add(held.guard)
        assert bench.ended.acquire(timeout=WAIT)
        (attempt,) = bench.storage.attempts(task_id)
        assert attempt.outcome == AttemptOutcome.TIMED_OUT
    assert len(guards) == 1  # one thread has executed them all
    assert guards.pop().depth == 0
