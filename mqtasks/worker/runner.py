"""`TaskRunner`: executes the tasks that are allocated to it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from mqtasks._version import __version__
from mqtasks.errors import ConfigError
from mqtasks.events import emit
from mqtasks.model import RunnerRecord, checked_id
from mqtasks.registry import TaskRegistry
from mqtasks.retry import DEFAULT_POLICY, RetryPolicy
from mqtasks.service import TaskService
from mqtasks.worker.definitions import register_definition
from mqtasks.worker.executors import Executors, TaskExecutor
from mqtasks.worker.isolation.origin import NO_ORIGIN, Origin, check_importable
from mqtasks.worker.lease import Lease, ThreadLease
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.parts import Parts
from mqtasks.worker.process_lease import ProcessLease

_LOOPS_TIMEOUT = 5.0


class TaskRunner:
    """Executes tasks, up to ``parallelism`` at once, from `start` to `stop`.

    Embeds into any process; ``mqtasks worker`` starts one in each of its processes. It may be
    started again after a stop. All methods are safe to call from many threads.

    Args:
        runner_id: Unique name, 1 to 255 bytes. Whoever starts under an id fences, and takes the
            tasks of, the earlier holder of that id, once its lease has lapsed.
        service: The task service. It is not closed by the runner.
        options: See `RunnerOptions`.
        registry: Executors to register, as by `register_executor`, inside its middlewares.

    Raises InvalidArgument for an unusable id.
    """

    def __init__(
        self,
        runner_id: str,
        service: TaskService,
        options: RunnerOptions | None = None,
        registry: TaskRegistry | None = None,
        *,
        lease: Lease | None = None,
        origin: Origin = NO_ORIGIN,
    ) -> None:
        """``lease`` says who keeps the lease, if not what ``options.heartbeat`` asks for.

        ``origin`` says where the processes of isolated executors find them. Raises ConfigError for
        such an executor that cannot be found.
        """
        self._runner_id = checked_id("runner_id", runner_id)
        service.keys.runner(runner_id)  # refuses control characters now rather than in a loop
        self._service = service
        self._options = options or RunnerOptions()
        self._given_lease = lease
        self._executors = Executors()
        self._lock = threading.RLock()
        self._parts: Parts | None = None
        self._lease: Lease | None = None
        self._stopped = threading.Event()
        self.on_exhausted: Callable[[], None] = self._exhausted
        """Called when as many threads are lost in tasks that do not give up as there are slots;
        set it before `start`. By default an error is logged."""
        middlewares = () if registry is None else registry.middlewares
        for definition in registry or ():
            register_definition(self._executors, definition, middlewares)
        self._origin = origin
        check_importable(self._executors.isolated, origin)

    @property
    def runner_id(self) -> str:
        """Its unique name."""
        return self._runner_id

    @property
    def parallelism(self) -> int:
        """How many tasks it executes at once."""
        return self._options.parallelism

    @property
    def options(self) -> RunnerOptions:
        """What it was told."""
        return self._options

    @property
    def generation(self) -> int:
        """Generation of its runner row; 0 while it is not started."""
        parts = self._parts
        return parts.identity.generation if parts is not None else 0

    @property
    def running(self) -> bool:
        """Whether it is started and not stopped."""
        return self._parts is not None

    def register_executor(
        self, code: int | str, executor: TaskExecutor, *, retry: RetryPolicy = DEFAULT_POLICY
    ) -> None:
        """Register what runs tasks of ``code``: ``executor(ctx, task)``, plain or ``async def``.

        It returns the value of the result (bytes are stored as they are, None as nothing, anything
        else as JSON) or raises to fail; ``retry`` judges what it raises. The first registration of
        a code stays. Raises ConfigError for a new code while the runner is started, InvalidArgument
        for a bad code or executor.
        """
        self._executors.register(code, executor, retry=retry)

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Register the runner, and begin to execute what is allocated to it.

        Does nothing while it is started. Raises RunnerConflict if the id is leased by somebody
        else (see ``on_conflict``), ConfigError without any executor, StorageError if storage
        cannot be reached.
        """
        with self._lock:
            if self._parts is not None:
                return
            codes = self._executors.close()
            try:
                self._start(codes)
            except BaseException:
                self._executors.reopen()
                raise

    def _start(self, codes: tuple[str, ...]) -> None:
        if not codes:
            raise ConfigError(
                f"runner {self._runner_id!r} has no executor: call register_executor(code, ...)"
                " before start()"
            )
        record = self._record(codes)
        lease = self._given_lease or self._make_lease()
        board = lease.board(self._options.parallelism)
        executors = self._executors.by_code
        parts = Parts(record, self._service, self._options, executors, board, origin=self._origin)
        parts.on_exhausted = self.on_exhausted
        self._parts = parts  # so that a stop can end the wait for somebody else's lease
        try:
            generation = parts.identity.register(parts.stopping.wait)
        except BaseException:
            self._parts = None
            board.close()
            raise
        self._stopped.clear()
        self._lease = lease
        parts.admission.open = True
        lease.start(record, board)
        parts.subscribe()
        parts.loops.start()
        self._service.hint_created()  # here is room, and what an earlier generation held is free
        emit("runner.started", runner=self._runner_id, generation=generation)
        self._options.log.info(
            "runner %s (generation %d) started: parallelism %d, %d executors",
            self._runner_id,
            generation,
            self._options.parallelism,
            len(codes),
        )

    def _exhausted(self) -> None:
        self._options.log.error(
            "runner %s: %d threads and more are lost in tasks that do not give up; only a new"
            " process gives them back",
            self._runner_id,
            self._options.parallelism,
        )

    def _make_lease(self) -> Lease:
        if self._options.heartbeat == "process" and ProcessLease.possible(self._service):
            return ProcessLease(self._service, self._options)
        return ThreadLease(self._service, self._options)

    def _record(self, codes: tuple[str, ...]) -> RunnerRecord:
        options = self._options
        return RunnerRecord(
            id=self._runner_id,
            executors=codes,
            labels=dict(options.labels),
            cpu=options.cpu,
            memory=options.memory,
            resources=dict(options.resources),
            parallelism=options.parallelism,
            max_wait_tasks=options.max_wait_tasks,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
        )

    def stop(self, timeout: float | None = None) -> None:
        """Stop in order; returns when it has stopped. Does nothing while it is not started.

        Waiting tasks are handed back at once. Running ones may finish within ``timeout`` seconds
        (default: ``shutdown_timeout``; 0 cancels them at once); then they are cancelled, get
        ``cancel_timeout`` seconds to give up, and go back without burning an attempt. A call with
        0 hurries one that is under way.
        """
        parts = self._parts
        if parts is None:
            return
        if timeout is not None and timeout <= 0:
            parts.drain.hurry()
        parts.stopping.set()
        with self._lock:
            if self._parts is not parts:
                return  # the call under way has done it
            self._stop(parts, self._options.shutdown_timeout if timeout is None else timeout)
            self._parts = None
            self._executors.reopen()
            self._stopped.set()

    def wait_stopped(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds (None: for ever) until a started runner has stopped."""
        return self._stopped.wait(timeout)

    def _stop(self, parts: Parts, timeout: float) -> None:
        parts.unsubscribe()
        parts.drain.run(timeout)
        parts.loops.stop(_LOOPS_TIMEOUT)
        parts.threads.close()
        parts.children.close()
        parts.event_loop.close(_LOOPS_TIMEOUT)
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.stop()
        self._service.heartbeats.forget_runner(self._runner_id)
        if not parts.dispatcher.running():
            parts.board.close()  # else an executor that ignored its cancellation still writes there
        generation = parts.identity.generation
        emit("runner.stopped", runner=self._runner_id, generation=generation)
        self._options.log.info("runner %s (generation %d) stopped", self._runner_id, generation)

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()
