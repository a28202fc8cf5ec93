"""Formats and transforms as an application declares them (S14), and steering through it (S4)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cryptography.fernet import Fernet

from mqtasks import (
    FernetTransform,
    MQTasks,
    PauseKind,
    RunnerOptions,
    Scheduler,
    TaskFailed,
    TaskRunner,
    TaskStatus,
)
from mqtasks.errors import InvalidArgument
from mqtasks.worker.definitions import executor_of


@contextmanager
def working(app: MQTasks) -> Iterator[None]:
    """Run the tasks of an application in this process."""
    scheduler = Scheduler(app.service)
    runner = TaskRunner("r1", app.service, RunnerOptions(parallelism=2, heartbeat="thread"))
    for definition in app.registry:
        runner.register_executor(definition.executor, executor_of(definition))
    scheduler.start()
    try:
        with runner:
            yield
    finally:
        scheduler.stop()


def test_s14_a_task_may_store_msgpack():
    with MQTasks("memory://") as app:

        @app.task(format="msgpack")
        def double(value: float, raw: bytes) -> float:
            return value * len(raw)

        handle = double.enqueue(math.inf, b"\xff\x00")
        assert handle.fetch().metadata.context[:1] == b"m"
        with working(app):
            assert handle.result(timeout=30) == math.inf
        result = handle.fetch().execute_result
        assert result is not None
        assert result.value[:1] == b"m"


def test_s14_what_an_application_encrypts_is_read_by_its_workers_only():
    key = Fernet.generate_key()
    with MQTasks("memory://", transforms=[FernetTransform(key)]) as app:

        @app.task
        def greet(name: str) -> str:
            return f"hello {name}"

        handle = greet.enqueue("secret-name")
        stored = handle.fetch()
        assert b"secret-name" not in stored.metadata.context
        with working(app):
            assert handle.result(timeout=30) == "hello secret-name"
        result = handle.fetch().execute_result
        assert result is not None
        assert b"secret-name" not in result.value

        stranger = MQTasks(settings=app.settings)

        @stranger.task(name="greet")
        def other(name: str) -> str:
            return name

        stranger._runtime, stranger._pid = app._runtime, app._pid  # one memory storage for both
        again = greet.enqueue("x")
        with working(stranger), pytest.raises(TaskFailed, match="through transform 'fernet'"):
            again.result(timeout=30)


def test_an_unknown_format_is_refused_where_it_is_declared():
    app = MQTasks("memory://")
    with pytest.raises(InvalidArgument, match="must be 'json' or 'msgpack'"):
        app.task(format="xml")  # type: ignore[call-overload]


def test_s4_an_application_pauses_resumes_and_cancels():
    with MQTasks("memory://") as app:

        @app.task
        def mail() -> None: ...

        handle = mail.enqueue()
        assert app.pause("executor", "mail", "provider is down")
        assert [(item.kind, item.name) for item in app.pauses()] == [(PauseKind.EXECUTOR, "mail")]
        assert app.resume("executor", "mail")
        assert app.cancel(handle.task_id).canceled == (handle.task_id,)
        assert handle.status() is TaskStatus.CANCELED
