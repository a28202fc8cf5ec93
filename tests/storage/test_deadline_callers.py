"""A caller notes a deadline and commits late: the deadlines of others are kept meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from mqtasks.errors import StorageConflict
from mqtasks.storage.mysql import MySQLTaskStorage
from mqtasks.storage.sql import create
from tests.support.callers import by_pymysql
from tests.support.stage import Stage, new


@pytest.fixture
def stage(mysql_url, clock):
    with MySQLTaskStorage(mysql_url, clock=clock) as storage:
        yield Stage(storage, clock)


@pytest.mark.parametrize("names", ["c", "ace"])  # with few rows servers may scan the table
@pytest.mark.parametrize("level", ["REPEATABLE READ", "READ COMMITTED"])
def test_others_expire_while_a_caller_has_not_committed(stage, mysql_url, level, names):
    ids = stage.create(*names, deadline=1)
    with by_pymysql(mysql_url) as caller:
        caller.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
        caller.commit()
        caller.execute("SELECT COUNT(*) FROM mqtasks_task")  # where a snapshot is taken
        late = [new(name, deadline=1) for name in ("b", "d", "f")]
        made = stage.storage.join(caller.target).create_tasks(late)
        stage.clock.advance(3)
        assert set(stage.storage.expire_due(10)) == set(ids)  # would raise StorageConflict
        caller.commit()
    assert set(stage.storage.expire_due(10)) == {one.task_id for one in made}
    assert stage.storage.expire_due(10) == ()


def test_more_notes_than_one_statement_takes(stage):
    stage.create(*(f"t{number}" for number in range(450)), deadline=1)
    stage.clock.advance(3)
    assert len(stage.storage.expire_due(430)) == 430
    assert len(stage.storage.expire_due(430)) == 20
    assert stage.storage.expire_due(430) == ()


def test_a_note_waits_for_a_task_whose_creation_takes_longer_than_its_deadline(stage, monkeypatch):
    """As behind a lock, or over a failover: the note is written first, and met by a look."""
    store = create._create_one

    def slow(*given: Any) -> Any:
        stage.clock.advance(30)
        assert stage.storage.expire_due(10) == ()
        return store(*given)

    monkeypatch.setattr(create, "_create_one", slow)
    late = stage.create("late", deadline=1)
    assert stage.storage.expire_due(10) == ()  # its deadline counts from when it was stored
    stage.clock.advance(3)
    assert stage.storage.expire_due(10) == tuple(late)


def test_notes_of_tasks_that_never_come_hold_nobody_up_and_are_forgotten(stage, mysql_url):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(create, "_create_one", refuse)
        for number in range(12):
            with pytest.raises(StorageConflict):
                stage.create(f"never-{number}", deadline=1)
    ids = stage.create("real", deadline=2)
    stage.clock.advance(5)
    found = [stage.storage.expire_due(10) for _ in range(3)]
    assert tuple(ids) in found
    stage.clock.advance(120)
    for _ in range(2):
        assert stage.storage.expire_due(10) == ()
    with by_pymysql(mysql_url) as caller:
        assert list(caller.execute("SELECT metadata_id FROM mqtasks_deadline")) == []


def refuse(*_: object) -> None:
    raise StorageConflict("a lock held by somebody else")
