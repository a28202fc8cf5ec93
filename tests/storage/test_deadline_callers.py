"""A caller notes a deadline and commits late: the deadlines of others are kept meanwhile."""

from __future__ import annotations

import pytest

from mqtasks.storage.mysql import MySQLTaskStorage
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
