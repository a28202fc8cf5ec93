"""What a caller's transaction commits is found though nothing tells of it (S1, G10)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mqtasks import MQTasks
from mqtasks.config import Settings
from mqtasks.scheduler import Scheduler, SchedulerOptions
from mqtasks.worker import TaskRunner
from tests.support.callers import by_pymysql, by_sqlite3

CALLERS = {"mysql": by_pymysql, "sqlite": by_sqlite3}


@pytest.fixture(params=CALLERS)
def backend(request: pytest.FixtureRequest) -> Iterator[tuple[MQTasks, str, str]]:
    url = request.getfixturevalue(f"{request.param}_url")
    redis = request.getfixturevalue("redis_url")
    with MQTasks(settings=Settings.load(environ={}, url=url, redis=redis)) as app:
        yield app, url, request.param


def test_s1_g10_polling_finds_what_was_committed_though_its_hint_was_lost(
    backend: tuple[MQTasks, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a healthy Redis: hints are trusted for a while, never for ever."""
    app, url, kind = backend

    @app.task
    def work(number: int) -> int:
        return number

    scheduler = Scheduler(app.service, SchedulerOptions(safety_poll=0.2))
    with scheduler, TaskRunner("r", app.service, registry=app.registry):
        first = work.enqueue(1)
        assert first.result(30) == 1
        monkeypatch.setattr(app.service, "hint_created", lambda: None)
        with CALLERS[kind](url) as caller:
            caller.execute("CREATE TABLE notes (body VARCHAR(20))")
            caller.commit()
            try:
                caller.execute("INSERT INTO notes VALUES ('mine')")
                handle = work.options(connection=caller.target).enqueue(2)
                assert not app.service.storage.find([handle.id]), "nobody sees it before"
                caller.commit()
                assert handle.result(30) == 2
            finally:
                caller.rollback()
                caller.execute("DROP TABLE notes")
                caller.commit()
