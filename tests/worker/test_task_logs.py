"""Each log line can say which task it belongs to."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mqtasks import MQTasks, Scheduler, TaskLogFilter, TaskRunner
from mqtasks.cli.session import log_as
from mqtasks.config import Settings
from mqtasks.worker.context import current_context
from mqtasks.worker.logs import FIELDS, add_task_fields


class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = {}

    def emit(self, record):
        self.records[record.getMessage()] = record


@pytest.fixture
def kept():
    handler, root = Kept(), logging.getLogger()
    handler.addFilter(TaskLogFilter())
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


def fields(record):
    return [getattr(record, name) for name in FIELDS]


def test_lines_of_all_loggers_name_the_task_that_wrote_them(kept):
    library = logging.getLogger("somebodys.library")
    with MQTasks("memory://") as app:

        @app.task
        def plain() -> None:
            library.warning("in a thread")
            current_context().log.warning("own")

        @app.task
        async def coroutine() -> None:
            await asyncio.sleep(0)
            library.warning("in the event loop")
            library.warning("mine", extra={"task_id": "another"})

        handles = [plain.enqueue(), coroutine.enqueue()]
        with Scheduler(app.service), TaskRunner("r", app.service, registry=app.registry):
            assert all(handle.wait(30) for handle in handles)
        library.warning("outside")
    first, second = (handle.task_id for handle in handles)
    assert fields(kept.records["in a thread"]) == [first, "plain", 0, 1, "r"]
    assert fields(kept.records[f"task {first}: own"]) == [first, "plain", 0, 1, "r"]
    assert fields(kept.records["in the event loop"]) == [second, "coroutine", 0, 1, "r"]
    assert fields(kept.records["mine"]) == ["another", "coroutine", 0, 1, "r"]
    assert fields(kept.records["outside"]) == [None] * 5


@pytest.mark.parametrize("what", ["task", "none"])
def test_a_setting_lets_the_command_do_so(what, capsys):
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        log_as(Settings.load(log_context=what, environ={}), chatty=True)
        add = [handler for handler in root.handlers if handler not in before]
        assert [len(handler.filters) for handler in add] == [what == "task"]
        logging.getLogger("x").warning("no task here")
        assert capsys.readouterr().err.endswith("WARNING x: no task here\n")
    finally:
        for handler in set(root.handlers) - set(before):
            root.removeHandler(handler)
        for handler in before:
            handler.filters = [f for f in handler.filters if not isinstance(f, TaskLogFilter)]
        root.setLevel(level)


def test_adding_it_twice_adds_it_once(kept):
    before = {handler: list(handler.filters) for handler in logging.getLogger().handlers}
    try:
        add_task_fields()
        assert len(kept.filters) == 1
    finally:
        for handler, filters in before.items():
            handler.filters = filters
