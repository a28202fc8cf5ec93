"""What surrounds a task in a child process: its context, its storage, and its outcome's way out."""

from __future__ import annotations

import asyncio
import importlib
import logging
import random
import sys
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final, cast

from mqtasks.clock import SystemClock
from mqtasks.config import Settings
from mqtasks.errors import ConfigError
from mqtasks.events import EventBus
from mqtasks.model import ExecuteResult
from mqtasks.payload import PayloadCodec
from mqtasks.registry import TaskRegistry
from mqtasks.service import TaskService
from mqtasks.storage.contract import JoinedTransaction, TaskStorage
from mqtasks.storage.factory import refuse_memory
from mqtasks.worker.apps import WorkerApp
from mqtasks.worker.board import Board
from mqtasks.worker.cancel import Canceller
from mqtasks.worker.context import Surroundings
from mqtasks.worker.definitions import register_definition
from mqtasks.worker.executor import Execution
from mqtasks.worker.executors import Executor, Executors
from mqtasks.worker.held import Held, Phase, hold
from mqtasks.worker.isolation.frames import Completing, Gone, Prepare, Run, Started, Succeeded
from mqtasks.worker.isolation.memory import data_bytes, limited
from mqtasks.worker.isolation.reports import Reports
from mqtasks.worker.isolation.wire import ChildWire
from mqtasks.worker.messages import settings_from_dict
from mqtasks.worker.outcome import Committed, Failed, Released
from mqtasks.worker.relatives import Relatives
from mqtasks.worker.steps import StoredSteps
from mqtasks.worker.transaction import Transactions

_ELSEWHERE: Final = (
    "the tasks are in the memory of the runner, which an isolated task cannot reach: keep them in"
    " a database (sqlite:///tasks.db, mysql://...)"
)


class Workplace:
    """Executes tasks in this process's main thread, as a runner would in a thread of its own."""

    def __init__(
        self,
        wire: ChildWire,
        order: Prepare,
        *,
        noted: threading.Event,
        canceller: Canceller,
        load: Callable[[str], WorkerApp],
        prepare: Callable[[Settings], object],
    ) -> None:
        """Import what is to be executed. Raises whatever user code raises."""
        self.held: Held | None = None
        """The task that is executed now."""
        self._wire = wire
        self._reports = Reports(wire)
        self._clock = SystemClock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._executors: dict[int | str, Executor] = {}
        self._apps: list[WorkerApp] = []
        refuse_memory(_ELSEWHERE)
        if order.settings is not None:
            self._settings = settings_from_dict(order.settings)
            prepare(self._settings)
        else:
            self._settings = Settings(url="memory://")  # never what the app says otherwise
        sys.path[:] = order.path
        self._app = load(order.app) if order.app else None
        if self._app is not None:
            self._use(self._app)
        for module in order.modules:
            importlib.import_module(module)
        storage = cast("TaskStorage", _Storage(self._service))
        limit, now = order.max_result_bytes, self._clock.monotonic
        self._execution = _Execution(
            Board.private(1),
            self._clock,
            Surroundings(
                order.runner_id,
                now,
                self._reports.report,
                PayloadCodec(limit).encode_result,
                logging.getLogger(order.logger),
                _Transactions(order.runner_id, storage, now, limit, wire=wire, noted=noted),
                StoredSteps(order.runner_id, storage, canceller, limit),
                Relatives(order.runner_id, self._service, canceller),
            ),
            lambda _held: None,
            lambda _held: None,
            max_result_bytes=limit,
            rng=random.Random(),
            events=EventBus(),  # the runner tells; its listeners are there
        )

    def execute(self, run: Run) -> None:
        """Execute one task, and say what came of it."""
        try:
            executor = self._executor(run)
        except Exception as error:  # noqa: BLE001 - told as the end of this task
            text = f"{type(error).__name__}: {error}"
            self._wire.send(Gone(Failed(text), "", data_bytes(), aborted=False))
            return
        held = hold(run.task, executor, run.started)
        held.slot = 0
        held.started, held.deadline, held.expires = run.started, run.deadline, run.expires
        self.held = held
        self._wire.send(Started())
        aborted = False
        try:
            with limited(run.memory):
                if executor.is_async:
                    self._run_async(held)
                else:
                    self._execution.run(held)
        except BaseException as error:  # noqa: BLE001 - broken off, or no memory for our own code
            aborted = True
            self._execution.break_off(held, error)
        self.held = None
        self._reports.flush()
        self._answer(held, aborted=aborted)

    def throw(self, held: Held) -> None:
        """Raise CancelledError in an async executor. From any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(_throw, held)

    def close(self) -> None:
        """Disconnect."""
        for app in self._apps:
            app.close()

    def _run_async(self, held: Held) -> None:
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
        held.coroutine = loop.create_task(self._execution.run_async(held), context=Context())
        loop.run_until_complete(held.coroutine)

    def _answer(self, held: Held, *, aborted: bool) -> None:
        outcome, data = held.outcome, data_bytes()
        if isinstance(outcome, ExecuteResult):
            self._wire.send(Succeeded(outcome.value, data, committed=False))
        elif isinstance(outcome, Committed):
            self._wire.send(Succeeded(outcome.result.value, data, committed=True))
        elif isinstance(outcome, Failed):
            self._wire.send(Gone(outcome, "", data, aborted))
        else:
            reason = outcome.reason if isinstance(outcome, Released) else ""
            self._wire.send(Gone(None, reason, data, aborted))

    # -- what is executed ------------------------------------------------------------------------

    def _executor(self, run: Run) -> Executor:
        code = run.task.metadata.executor
        found = self._executors.get(code)
        if found is None:
            app = self._app or self._app_of(run)
            executors = Executors()
            definition = app.registry.require(code).unisolated()
            register_definition(executors, definition, app.registry.middlewares)
            found = self._executors[code] = executors.by_code[code]
        return found

    def _app_of(self, run: Run) -> WorkerApp:
        """Return the application that has registered a task's function, from its module."""
        code = run.task.metadata.executor
        module = sys.modules[run.module]
        named: Any = module
        for part in run.name.split("."):
            named = getattr(named, part, None)
        for found in (named, *vars(module).values()):
            for app in (getattr(found, "app", None), found):
                registry = getattr(app, "registry", None)
                if isinstance(registry, TaskRegistry) and code in registry:
                    known: WorkerApp = app  # type: ignore[assignment]
                    self._use(known)
                    return known
        raise ConfigError(
            f"executor {code!r}: its application is not to be found in {run.module}: import it"
            " there at the top level, or start it by `mqtasks worker MODULE:APP`"
        )

    def _use(self, app: WorkerApp) -> None:
        if all(app is not known for known in self._apps):
            self._apps.append(app)
            app.configure(self._settings)

    def _service(self) -> TaskService:
        """Return the connection of this process, made when a task first needs it."""
        return self._apps[0].service


def _throw(held: Held) -> None:
    if held.coroutine is not None and held.phase is Phase.EXECUTING:
        held.told = held.coroutine.cancel()


class _Execution(Execution):
    """As in a runner, whose events are told there."""

    def break_off(self, held: Held, error: BaseException) -> None:
        """End a task that something has happened to outside of its executor's own code."""
        self._end(held, self._failure(held, error))


class _Storage:
    """The storage of the process's service, connected at first use."""

    def __init__(self, service: Callable[[], TaskService]) -> None:
        self._service = service

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service().storage, name)


class _Transactions(Transactions):
    """Tells the runner of a completion before it is written.

    Else a runner that sees its task completed, or the process dead, would not know why.
    """

    def __init__(
        self,
        runner_id: str,
        storage: TaskStorage,
        now: Callable[[], float],
        max_result_bytes: int,
        *,
        wire: ChildWire,
        noted: threading.Event,
    ) -> None:
        super().__init__(runner_id, storage, now, max_result_bytes)
        self._wire = wire
        self._noted = noted

    def complete(self, held: Held, value: bytes, joined: JoinedTransaction) -> None:
        """Tell, then write."""
        self._noted.clear()
        self._wire.send(Completing(held.key, value))
        self._noted.wait()
        super().complete(held, value, joined)
