"""Unique windows: calls that are the same within a period are one task."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pymysql
import pytest

from mqtasks import InvalidArgument, MQTasks, PayloadError, Scheduler, TaskRunner, TaskStatus
from mqtasks.config import Settings
from mqtasks.errors import StorageConflict
from tests.support.callers import CASES, arguments, by_pymysql, caller_of
from tests.support.races import together
from tests.support.site import eventually

DEADLINE = 30.0


@pytest.fixture(params=["memory", "sqlite", "mysql"])
def app(request: pytest.FixtureRequest):
    url = (
        "memory://"
        if request.param == "memory"
        else request.getfixturevalue(f"{request.param}_url")
    )
    with MQTasks(settings=Settings.load(url=url, environ={})) as made:
        yield made


@pytest.fixture
def memory():
    with MQTasks("memory://") as made:
        yield made


@pytest.fixture
def resize(app: MQTasks):
    @app.task(unique_for=timedelta(hours=1))
    def resize(path: str, width: int = 100) -> int:
        return len(path) * width

    return resize


def stored(app: MQTasks) -> int:
    return len(app.service.storage.query())


def test_the_same_call_is_the_first_task_and_its_handle_says_so(app, resize):
    first, second = resize.enqueue("cat.jpg"), resize.enqueue("cat.jpg")
    assert (first.is_new, second.is_new) == (True, False)
    assert (second.task_id, second.id) == (first.task_id, first.id)
    assert resize.enqueue("dog.jpg").is_new
    with Scheduler(app.service), TaskRunner("r", app.service, registry=app.registry):
        assert second.result(DEADLINE) == 700
    ended = resize.enqueue("cat.jpg")
    assert (ended.task_id, ended.status()) == (first.task_id, TaskStatus.COMPLETED)
    assert stored(app) == 2


def test_it_makes_no_difference_how_an_argument_is_given(app, resize):
    handles = [
        resize.enqueue("cat.jpg"),
        resize.enqueue(path="cat.jpg"),
        resize.enqueue("cat.jpg", 100),
        resize.enqueue(width=100, path="cat.jpg"),
        *resize.enqueue_many([("cat.jpg",), {"path": "cat.jpg"}]),
    ]
    assert len({handle.task_id for handle in handles}) == 1
    assert resize.enqueue("cat.jpg", 101).is_new


def test_duplicates_within_a_batch_are_one_task(app, resize):
    handles = resize.enqueue_many([("a",), ("b",), ("a",), ("b", 100), ("a", 7)], chunk=4)
    assert [handle.is_new for handle in handles] == [True, True, False, False, True]
    assert handles[2].id == handles[0].id
    assert handles[3].task_id == handles[1].task_id
    assert stored(app) == 3


def test_a_call_changes_or_leaves_the_window_of_its_task(app, resize):
    first = resize.enqueue("cat.jpg")
    assert resize.options(unique_for=None).enqueue("cat.jpg").is_new
    assert resize.options(unique_for=None, id="mine").enqueue("cat.jpg").id == "mine"
    assert resize.options(unique_for=5, priority=3).enqueue("cat.jpg").task_id == first.task_id
    keyed = resize.options(unique_key="cats").enqueue("cat.jpg")
    assert keyed.is_new
    assert resize.options(unique_key="cats").enqueue("tiger.jpg").task_id == keyed.task_id


def test_a_task_may_be_unique_whatever_its_arguments(memory: MQTasks):
    @memory.task(unique_for=60, unique_key="report")
    def report(day: str) -> None: ...

    assert report.enqueue("monday").task_id == report.enqueue("tuesday").task_id


def test_a_window_is_of_one_task(memory: MQTasks):
    @memory.task(name="a", unique_for=60)
    def first(number: int) -> None: ...

    @memory.task(name="b", unique_for=60)
    def second(number: int) -> None: ...

    assert first.enqueue(1).is_new
    assert second.enqueue(1).is_new


def test_a_window_ends_and_then_the_call_is_a_new_task(app, resize):
    short = resize.options(unique_for=0.001)
    first = short.enqueue("cat.jpg")
    storage = app.service.storage
    eventually(lambda: storage.now_ms() > first.fetch().created_at + 5, 10, "five milliseconds")
    assert short.enqueue("cat.jpg").is_new


def test_by_name_a_key_is_the_same_key(app, resize):
    remote = app.remote("resize").options(unique_for=60, unique_key="cats")
    first = remote.enqueue("cat.jpg")
    assert resize.options(unique_key="cats").enqueue("lion.jpg").task_id == first.task_id
    by_arguments = app.remote("transcode").options(unique_for=60)
    assert by_arguments.enqueue("a", height=1).is_new
    assert not by_arguments.enqueue("a", height=1).is_new
    assert by_arguments.enqueue("a", 1).is_new


def test_from_an_event_loop(resize):
    async def produce() -> Any:
        return await resize.aenqueue("cat.jpg"), await resize.aenqueue_many([("cat.jpg",)])

    first, (second,) = asyncio.run(produce())
    assert (second.task_id, second.is_new) == (first.task_id, False)


class Rot13:
    """A transform that never writes the same bytes twice, as ciphers do."""

    name = "rot13"

    def __init__(self) -> None:
        self.count = 0

    def encode(self, data: bytes) -> bytes:
        self.count += 1
        return b"%08d" % self.count + data

    def decode(self, data: bytes) -> bytes:
        return data[8:]


def test_encrypted_arguments_are_compared_before_they_are_encrypted():
    with MQTasks("memory://", transforms=[Rot13()]) as app:

        @app.task(unique_for=60)
        def pay(order: int) -> None: ...

        assert pay.enqueue(1).task_id == pay.enqueue(1).task_id
        assert pay.enqueue(2).is_new


@dataclass
class Order:
    number: int
    lines: dict[str, int]


def test_the_order_of_keys_and_sets_does_not_matter_and_types_do(memory: MQTasks):
    @memory.task(unique_for=60)
    def take(value: Any, other: Any = None) -> None: ...

    first = take.enqueue({"a": 1, "b": [Order(1, {"x": 1, "y": 2})], 3: None})
    assert take.enqueue({3: None, "b": [Order(1, {"y": 2, "x": 1})], "a": 1}).id == first.id
    assert take.enqueue({"c", "a", "b"}).id == take.enqueue({"b", "c", "a"}).id
    values: list[Any] = [1, 1.0, True, "1", None, [1], "", 0, False, "1 "]
    assert len({take.enqueue(value).id for value in values}) == len(values)
    assert take.enqueue(1, 2).id != take.enqueue(2, 1).id


def test_arguments_that_only_pickle_can_express_need_a_key(memory: MQTasks):
    @memory.task(unique_for=60, allow_pickle=True)
    def take(value: Any) -> None: ...

    with pytest.raises(PayloadError, match="say by unique_key which calls are the same"):
        take.enqueue(3 + 4j)
    assert stored(memory) == 0
    keyed = take.options(unique_key="k")
    assert keyed.enqueue(3 + 4j).id == keyed.enqueue(4j).id


@pytest.mark.parametrize(
    ("wrong", "field", "remedy"),
    [
        ({"unique_for": 0}, "unique_for", "seconds >= 0.001"),
        ({"unique_for": -1}, "unique_for", "seconds >= 0.001"),
        ({"unique_for": 0.0001}, "unique_for", "seconds >= 0.001"),
        ({"unique_for": float("inf")}, "unique_for", "<= 2**53"),
        ({"unique_for": "1h"}, "unique_for", "or a timedelta"),
        ({"unique_for": True}, "unique_for", "or a timedelta"),
        ({"unique_key": "k"}, "unique_key", "needs unique_for"),
        ({"unique_for": 5, "unique_key": ""}, "unique_key", "must not be empty"),
        ({"unique_for": 5, "unique_key": 7}, "unique_key", "must be text"),
    ],
)
def test_what_makes_no_sense_is_refused_for_tasks_and_calls(memory: MQTasks, wrong, field, remedy):
    @memory.task
    def work() -> None: ...

    for take in (work.options, memory.task):
        with pytest.raises(InvalidArgument) as caught:
            take(**wrong)
        assert caught.value.field == field
        assert remedy in str(caught.value)


def test_a_name_and_a_window_exclude_each_other(resize):
    with pytest.raises(InvalidArgument, match="id='mine': names the task already"):
        resize.options(id="mine")
    with pytest.raises(InvalidArgument, match="unique_for=None"):
        resize.options(unique_for=5, id="mine")
    with pytest.raises(InvalidArgument, match="cannot hold in a plan"):
        resize.s("cat.jpg")
    assert resize.options(unique_for=None).s("cat.jpg").enqueue().is_new


def test_m1_the_same_call_on_32_threads_is_one_task(app, resize):
    handles = together(*[lambda: resize.enqueue("cat.jpg")] * 32)
    assert sum(handle.is_new for handle in handles) == 1
    assert len({(handle.task_id, handle.id) for handle in handles}) == 1
    assert stored(app) == 1


# -- in the caller's transaction -------------------------------------------------------------------


@contextmanager
def shop(url: str):
    with MQTasks(settings=Settings.load(url=url, environ={})) as app:

        @app.task(unique_for=3600)
        def work(number: int) -> int:
            return number

        assert stored(app) == 0
        yield app, work


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_s1_a_rollback_frees_the_window_and_a_commit_keeps_it(case, request):
    url = request.getfixturevalue(f"{case[0]}_url")
    with shop(url) as (app, work), caller_of(case, url) as caller:
        caller.execute("CREATE TABLE notes (body VARCHAR(20))")
        caller.commit()
        mine = work.options(connection=caller.target)
        caller.execute("INSERT INTO notes VALUES ('begins')")
        lost = mine.enqueue(7)
        assert (lost.is_new, mine.enqueue(7).task_id) == (True, lost.task_id)
        caller.rollback()
        assert stored(app) == 0
        caller.execute("INSERT INTO notes VALUES ('begins')")
        first, second = mine.enqueue_many([(7,), (7,)])
        caller.commit()
        assert (first.is_new, second.is_new) == (True, False)
        again = work.enqueue(7)
        assert (again.task_id, again.id) == (first.task_id, first.id)
        caller.execute("INSERT INTO notes VALUES ('begins')")
        assert mine.enqueue(7).id == first.id
        caller.rollback()
        assert stored(app) == 1
        caller.execute("DROP TABLE notes")
        caller.commit()


def test_s1_an_open_window_is_seen_though_the_snapshot_is_older(mysql_url):
    with shop(mysql_url) as (_, work), by_pymysql(mysql_url) as caller:
        caller.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        caller.execute("SELECT COUNT(*) FROM mqtasks_unique")
        first = work.enqueue(7)
        mine = work.options(connection=caller.target).enqueue(7)
        assert (mine.task_id, mine.is_new) == (first.task_id, False)
        caller.rollback()


@pytest.mark.parametrize("commits", [True, False])
def test_the_second_producer_waits_for_the_first_ones_decision(mysql_url, commits):
    with shop(mysql_url) as (app, work), by_pymysql(mysql_url) as caller:
        caller.execute("SELECT 1")
        first = work.options(connection=caller.target).enqueue(7)
        second: list[Any] = []
        producer = threading.Thread(target=lambda: second.append(work.enqueue(7)))
        producer.start()
        with pymysql.connect(**arguments(mysql_url)) as connection:
            eventually(lambda: is_blocked(connection), 20, "the second producer waits")
        assert second == []
        (caller.commit if commits else caller.rollback)()
        producer.join(DEADLINE)
        assert second[0].is_new is not commits
        assert (second[0].task_id == first.task_id) is commits
        assert stored(app) == 1


def test_a_producer_who_waits_too_long_is_told_what_for(mysql_url, monkeypatch):
    monkeypatch.setattr("mqtasks.storage.mysql.pool.LOCK_WAIT", 1)
    monkeypatch.setattr("mqtasks.storage.mysql.pool.MySQLPool.tries", 1)
    with shop(mysql_url) as (app, work), by_pymysql(mysql_url) as caller:
        caller.execute("SELECT 1")
        work.options(connection=caller.target).enqueue(7)
        with pytest.raises(StorageConflict, match=r"unique_for: .* 'work' .*connection=.*1205"):
            work.enqueue(7)
        caller.commit()
        assert not work.enqueue(7).is_new
        assert stored(app) == 1


def is_blocked(connection: Any) -> bool:
    """Return whether some statement on our table of windows has waited for a while."""
    connection.commit()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*) FROM information_schema.processlist"
            " WHERE info LIKE '%INTO mqtasks_unique%' AND info NOT LIKE '%processlist%'"
            " AND db = DATABASE() AND time_ms > 100"
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_open_transactions_hold_up_no_other_windows(mysql_url, level):
    with shop(mysql_url) as (app, work), by_pymysql(mysql_url) as one, by_pymysql(mysql_url) as two:
        for number in range(0, 40, 4):  # windows that have expired, and will be taken again
            work.options(unique_for=0.001).enqueue(number)
        for caller in (one, two):
            caller.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
            caller.execute("SET SESSION innodb_lock_wait_timeout = 1")
            caller.execute("SELECT COUNT(*) FROM mqtasks_unique")
        for number in range(0, 40, 2):
            assert work.options(connection=one.target).enqueue(number).is_new
            assert work.options(connection=two.target).enqueue(number + 1).is_new
        assert work.enqueue(100).is_new
        one.commit()
        two.commit()
        assert stored(app) == 51
