"""A real runner on an SQLite file, fed by hand with tasks of isolated executors."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from mqtasks import MQTasks
from mqtasks.config import Settings
from mqtasks.events import bus
from mqtasks.model import AsyncTask, Attempt, TaskMetadata, TaskOptions
from mqtasks.runtime import Runtime
from mqtasks.service import TaskService
from mqtasks.worker import RunnerOptions, TaskRunner

WAIT = 40.0
_numbers = itertools.count(1)


class Bench:
    """Its own connection, so that several may work with one application."""

    def __init__(self, app: MQTasks, where: str | TaskService, **options: Any) -> None:
        """``where`` is a URL, or a service that the bench closes."""
        self.app = app
        if isinstance(where, str):
            where = Runtime.open(Settings.load(environ={}, url=where)).service
        self.service = where
        self.storage = self.service.storage
        lease = {"heartbeat_interval": 0.3, "heartbeat_timeout": 60.0, "heartbeat": "thread"}
        self.options = RunnerOptions(**{"parallelism": 3, **lease, **options})
        self.runner_id = f"r{next(_numbers)}"  # by which its events are told from other benches
        self.runner = TaskRunner(self.runner_id, self.service, self.options, app.registry)
        self._told: dict[str, set[int]] = {"started": set(), "ended": set()}
        self._news = threading.Condition()
        self._forget = [
            bus.subscribe("task.started", self._note("started")),
            *(
                bus.subscribe(name, self._note("ended"))
                for name in ("task.finished", "task.retried", "task.released")
            ),
        ]
        self.runner.start()

    def _note(self, what: str) -> Callable[[str, Any], None]:
        def note(_name: str, fields: Any) -> None:
            if fields["runner"] == self.runner_id:
                with self._news:
                    self._told[what].add(fields["task_id"])
                    self._news.notify_all()

        return note

    def _await(self, what: str, task_id: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: task_id in self._told[what], WAIT), (
                f"{what}: never; {self.task(task_id)}"
            )
            self._told[what].discard(task_id)

    @property
    def children(self) -> Any:
        """The pool of the runner."""
        return self.runner._parts.children  # type: ignore[union-attr]

    def give(self, code: str, *args: Any, **options: Any) -> int:
        """Create a task and allocate it to the runner; keywords are options, or else arguments."""
        definition = self.app.registry.require(code)
        known = TaskOptions.__struct_fields__
        named = {key: options.pop(key) for key in list(options) if key not in known}
        data = b""
        if args or named:
            data = definition.codec.encode_call(args, named, definition.signature)
        chosen = replace(definition.options, **options)
        name = f"{code}-{len(self.storage.query())}"
        task_id = self.service.create(TaskMetadata(name, code, data, chosen))
        self.allocate(task_id)
        return task_id

    def allocate(self, task_id: int) -> None:
        """Allocate a task to the runner, as a scheduler would."""
        self.storage.promote_due(10)
        self.service.allocate(self.task(task_id), self.runner_id)

    def started(self, task_id: int) -> None:
        """Wait until its process has it."""
        self._await("started", task_id)

    def ended(self, task_id: int) -> AsyncTask:
        """Wait until the end of an attempt is committed; return the row."""
        self._await("ended", task_id)
        return self.task(task_id)

    def run(self, code: str, *args: Any, **options: Any) -> tuple[AsyncTask, Attempt | None, float]:
        """Run a task once; return the row, its last attempt, and how long that took."""
        began = time.monotonic()
        task_id = self.give(code, *args, **options)
        task = self.ended(task_id)
        took = time.monotonic() - began
        attempts = self.storage.attempts(task_id)
        return task, attempts[-1] if attempts else None, took

    def value(self, code: str, *args: Any, **options: Any) -> Any:
        """Run a task to its success; return its result."""
        task, attempt, _ = self.run(code, *args, **options)
        assert attempt is None, attempt
        assert task.execute_result is not None
        return self.app.registry.require(code).codec.decode_result(task.execute_result.value, Any)

    def task(self, task_id: int) -> AsyncTask:
        """Return a stored row."""
        (found,) = self.storage.load([task_id])
        return found

    def close(self) -> None:
        """Stop the runner."""
        self.runner.stop(0)
        for forget in self._forget:
            forget()
        self.service.close()
