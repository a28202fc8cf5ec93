"""The answer to a COMMIT is lost: the write is repeated, and says what the first one did (P10)."""

from __future__ import annotations

import pymysql
import pytest
from msgspec.structs import replace

from mqtasks.errors import StorageUnavailable
from mqtasks.model import (
    SUCCESS,
    AsyncTask,
    CronTask,
    ExecuteResult,
    FiringKind,
    NewFiring,
    NewTask,
    ResultCode,
    TaskMetadata,
    TaskStatus,
    firing_id,
)
from mqtasks.storage.contract import (
    APPLIED,
    Allocation,
    Completion,
    ExecutorLimit,
    RetryRequest,
    Trigger,
)
from mqtasks.storage.mysql import MySQLTaskStorage
from mqtasks.storage.mysql.session import MySQLSession
from tests.support.links import linked, statuses
from tests.support.stage import FAILURE, Stage


@pytest.fixture
def stage(mysql_url, clock):
    with MySQLTaskStorage(mysql_url, clock=clock) as storage:
        yield Stage(storage, clock)


class Cut:
    """Cuts the connection right after the server has committed; once, or for ever."""

    def __init__(self):
        self.left = 0
        self.done = 0

    def after_commit(self, session):
        if self.left:
            self.left -= 1
            self.done += 1
            session.abandon()
            raise pymysql.err.OperationalError(2013, "Lost connection to server during query")


@pytest.fixture
def cut(monkeypatch):
    cut = Cut()
    commit, write = MySQLSession.commit, MySQLSession._write

    def cut_commit(self):
        commit(self)
        cut.after_commit(self)

    def cut_write(self, sql):
        matched = write(self, sql)
        if not self._in_transaction:
            cut.after_commit(self)
        return matched

    monkeypatch.setattr(MySQLSession, "commit", cut_commit)
    monkeypatch.setattr(MySQLSession, "_write", cut_write)
    return cut


@pytest.fixture
def repeated(stage, cut):
    """A function that calls an operation whose first commit is not answered."""

    def call(name, *arguments, **options):
        cut.left, cut.done = 1, 0
        answer = getattr(stage.storage, name)(*arguments, **options)
        assert cut.done == 1, "nothing was cut"
        return answer

    return call


def test_p10_create(stage, repeated):
    (one,) = repeated("create_tasks", [NewTask(TaskMetadata("a", "work"))])
    assert [task.id for task in stage.storage.query()] == [one.task_id]
    batch = [NewTask(TaskMetadata(f"b{n}", "work")) for n in range(100)]
    made = repeated("create_tasks", batch)
    stored = stage.storage.find([task.metadata.id for task in batch])
    assert [item.task_id for item in made] == [stored[f"b{n}"].id for n in range(100)]
    assert len(stage.storage.query()) == 101


def test_p10_create_with_windows(stage, repeated):
    names = ("a", "b", "a again")
    batch = [
        NewTask(TaskMetadata(name, "work"), unique_key=name[:1].encode() * 32, unique_ms=1000)
        for name in names
    ]
    made = repeated("create_tasks", batch)
    stored = {task.metadata.id: task.id for task in stage.storage.query()}
    assert [item.task_id for item in made] == [stored["a"], stored["b"], stored["a"]]
    assert made[2].metadata_id == "a"
    assert len(stored) == 2
    stage.clock.advance(1)
    assert repeated("prune_windows", 10) in {0, 2}
    assert stage.storage.prune_windows(10) == 0


def test_p10_create_children(stage, repeated):
    (owner,) = stage.running("p")
    batch = [linked("p/0", child_of="p"), linked("p/1", "p/0", child_of="p")]
    made = repeated("create_children", "r1", owner, batch)
    assert [item.child_id for item in stage.storage.children(owner.task_id)] == [
        item.task_id for item in made
    ]
    assert len(stage.storage.query()) == 3


def test_p10_allocate(stage, repeated):
    stage.register()
    ids = stage.create("a", "b")
    given = [Allocation(task_id, 0, "r1", 1) for task_id in ids]
    limits = [ExecutorLimit("work", 2)]
    assert repeated("allocate_many", given, stage.leadership, limits) == set(ids)
    assert [task.epoch for task in stage.storage.load(ids)] == [1, 1]


def test_p10_allocate_claims_nothing_that_others_did(stage, repeated):
    stage.register()
    stage.register("r2")
    mine, theirs = stage.create("a", "b")
    stage.allocate([theirs], "r2")
    given = [Allocation(task_id, 0, "r1", 1) for task_id in (mine, theirs)]
    assert repeated("allocate_many", given, stage.leadership) == {mine}


@pytest.mark.parametrize("result", [SUCCESS, ExecuteResult(ResultCode.SUCCESS, "", b"7"), FAILURE])
def test_p10_complete(stage, repeated, result):
    tasks = stage.running("a", "b")
    done = [Completion(item.task_id, 1, result, 3, "trace") for item in tasks]
    assert repeated("complete_many", "r1", done) == APPLIED
    assert [task.execute_result for task in stage.storage.query()] == [result] * 2
    assert all(task.status is TaskStatus.COMPLETED for task in stage.storage.query())
    history = [stage.storage.attempts(item.task_id) for item in tasks]
    assert [len(rows) for rows in history] == [int(result is FAILURE)] * 2


def test_p10_complete_of_a_canceled_task(stage, repeated):
    (task,) = stage.running("a")
    stage.storage.cancel_many([task.task_id])
    report = repeated("complete_many", "r1", [Completion(task.task_id, 1, SUCCESS)])
    assert report.canceled == (task.task_id,)
    assert report.lost == ()


def test_p10_retry(stage, repeated):
    (task,) = stage.running("a")
    assert repeated("retry_many", "r1", [RetryRequest(task.task_id, 1, 500, "boom")]) == APPLIED
    stored = stage.task(task.task_id)
    assert (stored.status, stored.attempt) == (TaskStatus.SCHEDULED, 1)


def test_p10_release(stage, repeated):
    (task,) = stage.running("a")
    assert repeated("release_many", "r1", [task], "drain") == APPLIED
    assert stage.status(task.task_id) is TaskStatus.CREATED
    assert len(stage.storage.attempts(task.task_id)) == 1


def test_p10_signs_of_life(stage, repeated):
    (task,) = stage.running("a")
    assert repeated("mark_started", "r1", [task]) == APPLIED
    assert repeated("heartbeat_many", "r1", [task]) == APPLIED
    assert repeated("save_progress", "r1", task, b"half") is True


def test_p10_cancel_and_requeue(stage, repeated):
    (waiting,) = stage.create("a")
    assert repeated("cancel_many", [waiting]).canceled == (waiting,)
    repeated("requeue_many", [waiting])
    assert stage.status(waiting) is TaskStatus.CREATED


def test_p10_cron(stage, repeated):
    cron = CronTask(metadata=TaskMetadata("c", "work"), cron_expr="* * * * *", next_time=1)
    repeated("add_cron_task", cron)
    (stored,) = stage.storage.query_cron_task()
    task = NewTask(TaskMetadata(firing_id("c", 1), "work"))
    assert repeated("trigger_many", [Trigger(stored, 60_000, task)]) == [True]
    (stored,) = stage.storage.query_cron_task()
    assert stored.trigger_times == 1
    advanced = CronTask(
        id=stored.id, metadata=stored.metadata, cron_expr=stored.cron_expr, next_time=120_000,
        trigger_times=2, version=stored.version,
    )  # fmt: skip
    second = AsyncTask(metadata=TaskMetadata(firing_id("c", 2), "work"))
    assert repeated("update_cron_task", advanced, second) == 2
    assert stage.storage.query_cron_task()[0].trigger_times == 2
    assert [task.metadata.id for task in stage.storage.query()] == ["c:1", "c:2"]
    manual = NewFiring(5, TaskMetadata("c:manual:5", "work"))
    assert repeated("add_firings", advanced, FiringKind.MANUAL, [manual]) == [True]
    assert [item.task for item in stage.storage.cron_firings("c", 5, FiringKind.MANUAL)] == [
        "c:manual:5"
    ]


def test_p10_s12_tasks_that_wait(stage, repeated):
    (parent,) = stage.running("parent")
    batch = [linked("child", "parent"), linked("grandchild", "child")]
    made = repeated("create_tasks", batch)
    assert [len(stage.storage.dependencies(item.task_id)) for item in made] == [1, 1]
    stage.complete([parent])
    step = repeated("resolve_dependencies")
    assert step.waiting
    assert list(statuses(stage.storage).values()) == ["COMPLETED", "CREATED", "WAITING"]
    assert repeated("cancel_many", [made[0].task_id]).canceled == (made[0].task_id,)
    repeated("resolve_dependencies")
    assert list(statuses(stage.storage).values()) == ["COMPLETED", "CANCELED", "CANCELED"]
    assert len(stage.storage.attempts(made[1].task_id)) == 1


def test_p10_s12_plans(stage, repeated):
    links = [linked("p/0"), linked("p/1", "p/0"), linked("p", "p/1")]
    plan = [replace(task, plan="p") for task in links]
    made = repeated("create_tasks", plan)
    assert statuses(stage.storage) == {"p/0": "CREATED", "p/1": "WAITING", "p": "WAITING"}
    assert [len(stage.storage.dependencies(item.task_id)) for item in made] == [0, 1, 1]
    again = stage.storage.create_tasks(plan)
    assert [item.task_id for item in again] == [item.task_id for item in made]


def test_p10_leases_and_runners(stage, repeated):
    first = repeated("acquire_lease", "leader", "me", 1000)
    assert stage.storage.renew_lease(first, 1000)
    generation = stage.register()
    assert repeated("set_runner_state", "r1", generation, 2) is True
    assert repeated("release_lease", first) is True


def test_p10_a_caller_may_repeat_what_stayed_unknown(stage, cut):
    """When every try is cut the outcome stays unknown; asking again later tells it."""
    (task,) = stage.running("a")
    done = [Completion(task.task_id, 1, SUCCESS)]
    cut.left = 10
    with pytest.raises(StorageUnavailable, match="the connection broke"):
        stage.storage.complete_many("r1", done)
    cut.left = 0
    assert stage.storage.complete_many("r1", done) == APPLIED
    other = ExecuteResult(ResultCode.SUCCESS, "", b"another")
    report = stage.storage.complete_many("r1", [Completion(task.task_id, 1, other)])
    assert report.lost == (task.task_id,)
