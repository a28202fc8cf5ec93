"""Processes that do not come up, and executors that no process could find."""

from __future__ import annotations

import contextlib
import errno
import threading
from pathlib import Path

import pytest

from mqtasks import MQTasks
from mqtasks.errors import ConfigError, InvalidArgument
from mqtasks.events import bus
from mqtasks.middleware import Middleware
from mqtasks.model import AttemptOutcome, ResultCode, TaskStatus
from mqtasks.registry import TaskDefinition
from mqtasks.service import TaskService
from mqtasks.storage.memory import MemoryTaskStorage
from mqtasks.worker import RunnerOptions, TaskRunner
from mqtasks.worker.board import empty_file
from mqtasks.worker.definitions import executor_of
from mqtasks.worker.isolation.call import IsolatedCall
from mqtasks.worker.isolation.frames import Prepare
from mqtasks.worker.isolation.origin import Origin
from mqtasks.worker.isolation.process import ChildProcess
from tests.worker.isolation import broken_app, suite_app
from tests.worker.isolation.bench import Bench


@pytest.mark.parametrize(
    ("how", "error", "trace"),
    [
        ("raises", "RuntimeError: there is no licence on this host", "broken_app.py"),
        ("hangs", "was not ready after 3 s", "broken_app.py"),
        ("dies", "ended with exit code 7", ""),
    ],
)
def test_a_process_that_cannot_start_fails_the_attempt_and_says_why(
    sqlite_url, monkeypatch, how, error, trace
):
    monkeypatch.setenv("BROKEN_APP", how)
    patience = 3.0 if how == "hangs" else 60.0
    with contextlib.closing(
        Bench(broken_app.app, sqlite_url, isolated_start_timeout=patience)
    ) as bench:
        task, attempt, _ = bench.run("fine")
        assert attempt is not None
        assert (task.status, attempt.outcome) == (TaskStatus.COMPLETED, AttemptOutcome.FAILED)
        assert error in attempt.error
        assert trace in attempt.traceback
        assert (task.crashes, bench.children.idle) == (0, [])
        if how != "hangs":
            monkeypatch.delenv("BROKEN_APP")
            assert bench.value("fine") is None


def test_a_task_whose_process_is_killed_before_it_begins_is_put_off_and_charged_nothing(
    sqlite_url, monkeypatch
):
    monkeypatch.setenv("BROKEN_APP", "is killed")
    with contextlib.closing(Bench(broken_app.app, sqlite_url)) as bench:
        task, attempt, _ = bench.run("fine")
        assert attempt is not None
        assert (task.status, attempt.outcome) == (TaskStatus.SCHEDULED, AttemptOutcome.SNOOZED)
        assert "SIGKILL" in attempt.error
        assert (task.crashes, task.attempt) == (0, 0)
        assert 3000 < task.run_at - attempt.ended_at < 7000


def test_a_task_canceled_while_its_process_starts_does_not_run(sqlite_url, monkeypatch):
    monkeypatch.setenv("BROKEN_APP", "hangs")
    with contextlib.closing(Bench(broken_app.app, sqlite_url)) as bench:
        task_id = bench.give("fine")
        bench.service.cancel(task_id)
        assert bench.ended(task_id).status is TaskStatus.CANCELED


def test_on_memory_storage_isolated_tasks_run_but_cannot_reach_it():
    ended: list[int] = []
    service = TaskService(MemoryTaskStorage())
    forget = bus.subscribe("task.finished", lambda _, fields: ended.append(fields["task_id"]))
    with contextlib.closing(Bench(suite_app.app, service)) as bench:
        task, attempt, _ = bench.run("process.nothing")
        assert task.execute_result is not None
        assert (task.execute_result.code, attempt) == (ResultCode.SUCCESS, None)
        _, attempt, _ = bench.run("process.enqueue")
        assert attempt is not None
        assert "the tasks are in the memory of the runner" in attempt.error
    forget()
    assert len(ended) == 2


PROCESS = "mqtasks.worker.isolation.process"


def descriptors():
    return sorted(Path("/dev/fd").iterdir())


@pytest.mark.parametrize("short_of", ["descriptors", "threads", "processes"])
def test_a_process_that_the_host_cannot_give_leaves_no_descriptors_open(monkeypatch, short_of):
    def refuse(*_args, **_given):
        raise OSError(errno.EMFILE, "none left")

    def no_thread(_thread):
        raise RuntimeError("can't start new thread")

    if short_of == "descriptors":
        made = iter([empty_file])

        def one_only() -> int:
            return next(made, refuse)()

        monkeypatch.setattr(f"{PROCESS}.empty_file", one_only)
    elif short_of == "threads":
        monkeypatch.setattr(threading.Thread, "start", no_thread)
    else:
        monkeypatch.setattr(f"{PROCESS}.spawn_module", refuse)
    before = descriptors()
    with pytest.raises(OSError, match=r"none left|new thread"):
        ChildProcess("nothing", Prepare("", (), (), None, "r", "log", 1))
    assert descriptors() == before


# -- what is refused -----------------------------------------------------------------------------


def function_of_the_module() -> None:
    pass


def runner_of(*definitions: TaskDefinition, **given) -> TaskRunner:
    app = MQTasks()
    for definition in definitions:
        app.registry.register(definition)
    service = TaskService(MemoryTaskStorage())
    return TaskRunner("r", service, RunnerOptions(), app.registry, **given)


def test_an_executor_that_no_other_process_can_import_is_refused_at_once(monkeypatch):
    def local() -> None:
        pass

    definition = TaskDefinition.call("local", local, isolation="process")
    with pytest.raises(ConfigError, match="move it to the top level"):
        runner_of(definition)
    runner_of(definition, origin=Origin("tests.worker.isolation.suite_app:app"))
    monkeypatch.setattr(function_of_the_module, "__module__", "__main__")
    with pytest.raises(ConfigError, match="cannot import the program itself"):
        runner_of(TaskDefinition.call("main", function_of_the_module, isolation="process"))


def test_the_reference_form_is_refused():
    raw = TaskDefinition.raw("raw", lambda _context, _task: None)
    isolated = TaskDefinition(raw.code, raw.function, "raw", isolation="process")
    with pytest.raises(ConfigError, match=r"register it by @app\.task"):
        executor_of(isolated)


def test_a_middleware_that_cannot_stand_around_it_is_refused_at_the_start():
    class Waits(Middleware):
        async def execute(self, call_next, context):
            return await call_next(context)

    definition = TaskDefinition.call("plain", function_of_the_module, isolation="process")
    with pytest.raises(ConfigError, match="async"):
        executor_of(definition, (Waits(),))
    assert isinstance(executor_of(definition), IsolatedCall)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"isolation": "thread"}, "isolation"),
        ({"isolation": "process", "memory_limit": -1}, "memory_limit"),
        ({"isolation": "process", "memory_limit": 1.5}, "memory_limit"),
        ({"memory_limit": 1 << 30}, "memory_limit"),
    ],
)
def test_wrong_options_are_refused(given, field):
    with pytest.raises(InvalidArgument) as caught:
        MQTasks().task(**given)(function_of_the_module)
    assert caught.value.field == field
