"""Tasks that are created in a transaction of the caller's, over every library (S1, P10)."""

from __future__ import annotations

import threading

import pymysql
import pytest

from mqtasks import InvalidArgument, MQTasks, TransactionAborted
from mqtasks.config import Settings
from mqtasks.model import FailurePolicy
from tests.support.callers import CASES, arguments, by_pymysql, by_sqlite3, caller_of
from tests.support.links import linked, statuses
from tests.support.servers import temporary_database


@pytest.fixture(params=CASES, ids="-".join)
def case(request):
    return request.param


@pytest.fixture
def url(case, request):
    return request.getfixturevalue(f"{case[0]}_url")


def application(url):
    app = MQTasks(settings=Settings.load(url=url, environ={}))

    @app.task
    def work(number: int = 0) -> int:
        return number

    return app, work


@pytest.fixture
def shop(url):
    app, work = application(url)
    with app:
        assert app.service.storage.query() == []
        hints = []
        app.service.hint_created = lambda: hints.append("created")
        yield app, work, hints


@pytest.fixture
def caller(case, url, shop):
    with caller_of(case, url) as caller:
        caller.execute("CREATE TABLE notes (body VARCHAR(20))")
        caller.commit()
        try:
            yield caller
        finally:
            caller.rollback()
            caller.execute("DROP TABLE notes")
            caller.commit()


def ids(app):
    return [task.metadata.id for task in app.service.storage.query()]


def test_s1_rollback_leaves_no_row(shop, caller):
    app, work, hints = shop
    caller.execute("INSERT INTO notes VALUES ('mine')")
    handle = work.options(id="a", connection=caller.target).enqueue(7)
    assert handle.is_new
    assert ids(app) == [], "others do not see it yet"
    caller.rollback()
    assert ids(app) == []
    assert hints == []
    assert list(caller.execute("SELECT * FROM notes")) == []
    caller.rollback()
    assert hints == []


def test_s1_commit_makes_the_row_and_then_the_hint(shop, caller):
    app, work, hints = shop
    caller.execute("INSERT INTO notes VALUES ('mine')")
    made = work.options(connection=caller.target).enqueue_many([(n,) for n in range(3)])
    late = work.options(id="late", delay=60, connection=caller.target).enqueue(1)
    assert hints == []
    caller.commit()
    assert hints == (["created", "created"] if caller.hook else [])
    stored = app.service.storage.query()
    assert [task.id for task in stored] == [handle.task_id for handle in (*made, late)]
    assert made[1].fetch().metadata.context != b""
    assert len(caller.execute("SELECT * FROM notes")) == 1
    caller.rollback()


def test_s1_ids_are_idempotent_also_when_the_snapshot_is_older(shop, caller):
    app, work, _ = shop
    first = work.options(id="known").enqueue(1)
    caller.execute("INSERT INTO notes VALUES ('begins')")
    # On MySQL the snapshot of REPEATABLE READ is taken here; SQLite has no second writer.
    caller.execute("SELECT COUNT(*) FROM mqtasks_task")
    if app.service.storage.capabilities.concurrent_writers:
        second = work.options(id="unseen").enqueue(2)
    else:
        second = first
    again = work.options(id=second.id, connection=caller.target).enqueue(3)
    assert (again.task_id, again.is_new) == (second.task_id, False)
    own = work.options(id="own", connection=caller.target).enqueue(4)
    twice = work.options(id="own", connection=caller.target).enqueue(5)
    assert (own.is_new, twice.is_new, twice.task_id) == (True, False, own.task_id)
    caller.commit()
    assert own.fetch().metadata.id == "own"


def test_s1_a_retention_is_noted_with_the_task(shop, caller):
    app, work, _ = shop
    caller.execute("INSERT INTO notes VALUES ('mine')")
    work.options(retention=3600.0, connection=caller.target).enqueue(1)
    caller.commit()
    rows = app.service.storage.database.read(lambda session: session.rows("shortest_retention"))
    assert rows == [(2**21,)]


def test_s12_tasks_that_wait_commit_with_the_caller_s_writes(shop, caller):
    app, work, _ = shop
    storage = app.service.storage
    parent = work.options(id="parent").enqueue(1)
    ended = work.options(id="ended").enqueue(1)
    app.service.cancel(ended.task_id)
    batch = [
        linked("child", "parent"),
        linked("grandchild", "child", "ended", on_failure=FailurePolicy.RUN),
        linked("at once", "ended"),
    ]
    caller.execute("INSERT INTO notes VALUES ('mine')")
    app.service.create_tasks_in(caller.target, batch)
    caller.rollback()
    assert sorted(ids(app)) == ["ended", "parent"]
    assert storage.children(parent.task_id) == []
    assert not storage.resolve_dependencies().waiting

    caller.execute("INSERT INTO notes VALUES ('mine')")
    with pytest.raises(InvalidArgument, match="'nobody': is not stored"):
        app.service.create_tasks_in(caller.target, [linked("lost", "parent", "nobody")])
    app.service.create_tasks_in(caller.target, batch)
    caller.commit()
    storage.resolve_dependencies()
    assert statuses(storage) == {
        "parent": "CREATED",
        "ended": "CANCELED",
        "child": "WAITING",
        "grandchild": "WAITING",
        "at once": "CANCELED",
    }
    assert len(storage.children(parent.task_id)) == 1
    caller.rollback()


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("maker", "fixture", "autocommit"),
    [
        (by_pymysql, "mysql_url", {"autocommit": True}),
        (by_sqlite3, "sqlite_url", {"isolation_level": None}),
    ],
)
def test_p10_autocommit_without_a_transaction_is_refused(maker, fixture, autocommit, request):
    url = request.getfixturevalue(fixture)
    app, work = application(url)
    with app, maker(url, **autocommit) as caller:
        assert app.service.storage.query() == []
        with pytest.raises(InvalidArgument, match="autocommit"):
            work.options(connection=caller.target).enqueue(1)
        caller.execute("BEGIN")
        work.options(id="a", connection=caller.target).enqueue(1)
        assert ids(app) == []
        caller.execute("COMMIT")
        assert ids(app) == ["a"]


def test_p10_another_schema_is_refused(mysql_url, mariadb):
    app, work = application(mysql_url)
    with (
        app,
        temporary_database(mariadb) as other,
        by_pymysql(other) as caller,
        pytest.raises(InvalidArgument, match="another server or schema"),
    ):
        work.options(connection=caller.target).enqueue(1)


def test_p10_another_server_is_refused(mysql_url, own_mariadb):
    name = arguments(mysql_url)["database"]
    app, work = application(mysql_url)
    with (
        app,
        by_pymysql(own_mariadb.create_database(name)) as caller,
        pytest.raises(InvalidArgument, match="another server or schema"),
    ):
        work.options(connection=caller.target).enqueue(1)


def test_p10_another_file_is_refused(sqlite_url, tmp_path):
    app, work = application(sqlite_url)
    for other in (str(tmp_path / "other.db"), ":memory:"):
        with (
            app,
            by_sqlite3(f"sqlite:///{other}") as caller,
            pytest.raises(InvalidArgument, match="another file"),
        ):
            work.options(connection=caller.target).enqueue(1)


def test_p10_a_table_without_transactions_is_refused(empty_mysql_url):
    from mqtasks.storage import migrate
    from mqtasks.storage.mysql import MySQLTaskStorage

    with MySQLTaskStorage(empty_mysql_url) as storage:
        migrate.up(storage)
    app, work = application(empty_mysql_url)
    with app, by_pymysql(empty_mysql_url) as caller:
        caller.execute("ALTER TABLE mqtasks_task ENGINE=MyISAM")
        with pytest.raises(InvalidArgument, match="MyISAM"):
            work.options(connection=caller.target).enqueue(1)


def test_p10_memory_storage_and_strange_objects_are_refused(mysql_url, sqlite_url):
    for url in ("memory://", mysql_url, sqlite_url):
        app, work = application(url)
        with app, pytest.raises(InvalidArgument, match="connection='object'"):
            work.options(connection=object()).enqueue(1)


# -- errors --------------------------------------------------------------------------------------


def test_p10_a_deadlock_aborts_and_neither_write_exists(mysql_url):
    """The caller holds note 1 and waits for a task id; the other holds the id and wants note 1."""
    app, work = application(mysql_url)
    with (
        app,
        by_pymysql(mysql_url) as caller,
        by_pymysql(mysql_url) as other,
        by_pymysql(mysql_url, autocommit=True) as watcher,
    ):
        caller.execute("CREATE TABLE notes (id INT PRIMARY KEY, body VARCHAR(20))")
        try:
            caller.execute("INSERT INTO notes VALUES (1, ''), (2, ''), (3, ''), (4, '')")
            caller.commit()
            # The larger transaction survives a deadlock: so the caller's is the smaller one.
            other.execute("UPDATE notes SET body = 'other' WHERE id > 1")
            work.options(id="contested", connection=other.target).enqueue(1)
            caller.execute("UPDATE notes SET body = 'caller' WHERE id = 1")
            waits = threading.Thread(
                target=lambda: other.execute("UPDATE notes SET body = 'other' WHERE id = 1")
            )
            waits.start()
            pause = threading.Event()
            for _ in range(1000):
                if watcher.execute(
                    "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
                ):
                    break
                pause.wait(0.01)
            with pytest.raises(TransactionAborted, match="Deadlock"):
                work.options(id="contested", connection=caller.target).enqueue(2)
            waits.join(20)
            caller.commit()
            other.rollback()
            assert ids(app) == []
            bodies = watcher.execute("SELECT DISTINCT body FROM notes")
            assert bodies == (("",),)
        finally:
            caller.rollback()
            other.rollback()
            watcher.execute("DROP TABLE notes")


def test_p10_a_lost_connection_aborts_and_does_not_come_back(mysql_url):
    app, work = application(mysql_url)
    with app, by_pymysql(mysql_url) as caller, by_pymysql(mysql_url) as killer:
        caller.execute("SELECT 1")
        killer.execute(f"KILL {caller.target.thread_id()}")
        with pytest.raises(TransactionAborted):
            work.options(connection=caller.target).enqueue(1)
        assert ids(app) == []
        with pytest.raises(pymysql.err.Error):
            caller.execute("SELECT 1")


def test_p10_read_committed_and_found_rows_make_no_difference(mysql_url):
    app, work = application(mysql_url)
    first = work.options(id="a").enqueue(1)
    flags = pymysql.constants.CLIENT.FOUND_ROWS
    kinds = {"client_flag": flags, "cursorclass": pymysql.cursors.DictCursor}
    with app, by_pymysql(mysql_url, **kinds) as caller:
        caller.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        made = work.options(connection=caller.target).enqueue_many([(1,), (2,)])
        again = work.options(id="a", connection=caller.target).enqueue(1)
        caller.commit()
        assert (again.is_new, again.task_id) == (False, first.task_id)
        assert [handle.fetch().id for handle in made] == [handle.task_id for handle in made]


def test_committed_sends_the_hint_by_hand(sqlite_url):
    app, _ = application(sqlite_url)
    with app:
        hints = []
        app.service.hint_created = lambda: hints.append(1)
        app.committed()
        assert hints == [1]
