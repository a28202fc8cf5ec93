"""`MQTasks`: an application's functions and its connection to the task service."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Literal, ParamSpec, Self, TypeVar, Unpack, overload

from mqtasks.app.crons import CronDecorator, Crons
from mqtasks.app.handle import TaskHandle
from mqtasks.app.options import Duration, OptionFields, changed_options, policy_for
from mqtasks.app.task import Task
from mqtasks.app.unique import changed_window
from mqtasks.config import Settings
from mqtasks.errors import ConfigError, InvalidArgument, TaskNotFound, UnknownExecutor
from mqtasks.middleware import Middleware
from mqtasks.model import DEFAULT_OPTIONS, Pause
from mqtasks.model.task import checked_executor
from mqtasks.model.window import UniqueWindow
from mqtasks.payload import Envelope, FormatName, PayloadTransform
from mqtasks.registry import TaskDefinition, TaskRegistry, codec_of
from mqtasks.retry import ErrorTypes, RetryDelay, RetryPolicy
from mqtasks.runtime import Runtime
from mqtasks.service import PauseTarget, TaskService
from mqtasks.storage.contract import CancelReport

P = ParamSpec("P")
R = TypeVar("R")


class MQTasks:
    """An application: functions registered as tasks, and where the tasks live.

    ``url`` names the storage (``sqlite:///tasks.db``, ``mysql://user:password@host/database``,
    ``memory://``), ``redis`` the hints. What is not given comes from MQTASKS_* variables, then
    from the configuration file, then from defaults. ``transforms`` stand around every payload that
    the application's tasks write (the first one) and read (all of them): encryption, say.
    ``middleware`` is what `use` takes. Nothing is connected before the first use. Safe to use from
    many threads; after a fork the child connects anew.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        redis: str | None = None,
        namespace: str | None = None,
        settings: Settings | None = None,
        transforms: Iterable[PayloadTransform] = (),
        middleware: Iterable[Middleware] = (),
    ) -> None:
        """Describe the application; raises nothing before `settings` are needed."""
        if settings is not None and (url, redis, namespace) != (None, None, None):
            raise InvalidArgument("settings", settings, "give settings, or url, redis, namespace")
        self.registry: Final = TaskRegistry()
        self.registry.use(*middleware)
        given = {"url": url, "redis": redis, "namespace": namespace}
        self._given: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        self._settings = settings
        self.envelope: Final = Envelope(transforms)
        self.crons: Final = Crons(self)
        """Cron tasks that are declared, and their control."""
        self._lock = threading.RLock()
        self._runtime: Runtime | None = None
        self._lent: Runtime | None = None
        self._pid = 0

    # -- registering ---------------------------------------------------------------------------

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        code: int | None = None,
        format: FormatName = "json",
        allow_pickle: bool = False,
        isolation: Literal["process"] | None = None,
        memory_limit: int = 0,
        retry_on: ErrorTypes | None = None,
        give_up_on: ErrorTypes | None = None,
        retry_delay: Duration | RetryDelay | None = None,
        unique_for: Duration | None = None,
        unique_key: str | None = None,
        **options: Unpack[OptionFields],
    ) -> _Decorator: ...

    def task(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        code: int | None = None,
        format: FormatName = "json",  # noqa: A002 - the word users know
        allow_pickle: bool = False,
        isolation: Literal["process"] | None = None,
        memory_limit: int = 0,
        retry_on: ErrorTypes | None = None,
        give_up_on: ErrorTypes | None = None,
        retry_delay: Duration | RetryDelay | None = None,
        unique_for: Duration | None = None,
        unique_key: str | None = None,
        **options: Unpack[OptionFields],
    ) -> Any:
        """Register a function (``def`` or ``async def``) as a task.

        Used bare or with arguments. The executor code is ``code`` (a u32), or ``name``, or the
        function's own name; one code cannot be registered twice (ConfigError). ``options`` are
        fields of `TaskOptions`. ``format`` is what arguments and results are stored as: ``json`` or
        ``msgpack``, which carries bytes and nan. ``allow_pickle`` lets arguments and results of
        this task be pickled where the format cannot express them.

        ``isolation="process"`` executes each task in a child process, which is killed if the task
        does not end in its time, and whose death harms no other task. ``memory_limit`` is how many
        bytes of data such a process may have (0 = as many as the runner says).

        ``max_retry_times`` says how often a failed task is run again. Of which exceptions, say
        ``retry_on`` (only these classes) and ``give_up_on`` (not these); subclasses count, and of
        two that match the more derived decides. ``retry_delay`` says when, instead of
        ``retry_interval`` and what follows it: exact seconds, a timedelta, or what returns one of
        them, or None, for (attempt, exception). See `RetryPolicy`.

        ``unique_for`` makes one task of all calls with the same arguments, or with the same
        ``unique_key``, within that period; see `Task.options`.
        """
        retry = policy_for(options, retry_on, give_up_on, retry_delay)
        decorator = _Decorator(
            self,
            name,
            code,
            options,
            retry,
            payload_format=format,
            allow_pickle=allow_pickle,
            isolation=isolation,
            memory_limit=memory_limit,
            window=changed_window(None, {"unique_for": unique_for, "unique_key": unique_key}),
        )
        return decorator if function is None else decorator(function)

    def cron(self, cron_expr: str, **given: Any) -> CronDecorator:
        """Declare that the task, or the plain function, below runs on a schedule.

        ``given``: what `Crons.declare` takes, which are ``id``, ``timezone``, ``args``, ``kwargs``
        and the fields of `CronPolicy`. Stored when a worker starts, or by ``app.crons.sync()``.
        """
        return CronDecorator(self, cron_expr, given)

    def remote(
        self,
        executor: int | str,
        /,
        *,
        format: FormatName = "json",  # noqa: A002 - the word users know
        **options: Unpack[OptionFields],
    ) -> Task[..., Any]:
        """Return a task by its executor code, for a producer that has not got the function.

        Nothing is registered: some worker must know the code, else the tasks wait. Arguments are
        checked by that worker, not here, and results come as plain values. Calling it raises
        UnknownExecutor. Raises InvalidArgument for a bad code or option.
        """
        code = checked_executor(executor)

        def elsewhere(*_args: Any, **_kwargs: Any) -> Any:
            raise UnknownExecutor(executor, self.registry.codes())

        elsewhere.__name__ = str(executor)
        codec = codec_of(format, self.envelope)
        chosen = changed_options(DEFAULT_OPTIONS, options)
        return Task(self, TaskDefinition(code, elsewhere, "call", chosen, codec=codec))

    def use(self, *middlewares: Middleware) -> None:
        """Let middlewares stand around what the application's tasks do, the first one outermost.

        They see every creation of tasks by this application, and every execution by runners that
        are made after this; see `Middleware`. One that is used already is not added again. Raises
        ConfigError for what is no middleware.
        """
        self.registry.use(*middlewares)

    # -- connection ----------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings in force; loaded at first use. Raises ConfigError."""
        lent = self._lent
        if lent is not None:
            return lent.settings
        with self._lock:
            if self._settings is None:
                self._settings = Settings.load(**self._given)
            return self._settings

    @property
    def service(self) -> TaskService:
        """The task service; connected at first use, again in a forked child.

        Raises ConfigError, SchemaMismatch, StorageUnavailable.
        """
        runtime = self._lent
        if runtime is not None:
            return runtime.service
        runtime = self._runtime
        if runtime is not None and self._pid == os.getpid():
            return runtime.service
        with self._lock:
            if self._runtime is None or self._pid != os.getpid():
                self._runtime = Runtime.open(self.settings)
                self._runtime.service.registry = self.registry
                self._pid = os.getpid()
            return self._runtime.service

    def handle(self, task: int | str) -> TaskHandle[Any]:
        """Return a handle of a task created elsewhere, by its number or its metadata id.

        Its result is read as the registered function of its executor says; as plain values where
        the function is not known here. Raises TaskNotFound.
        """
        if isinstance(task, str):
            stored = self.service.storage.find([task]).get(task)
            if stored is None:
                raise TaskNotFound(task)
        else:
            stored = self.service.get(task)
        definition = self.registry.get(stored.metadata.executor)
        codec = codec_of(envelope=self.envelope) if definition is None else definition.codec
        known = None if definition is None else definition.signature
        wanted: Any = Any if known is None else known.return_type

        def decode(value: bytes) -> Any:
            return codec.decode_result(value, wanted)

        return TaskHandle(lambda: self.service, stored.id, stored.metadata.id, decode, is_new=False)

    def committed(self) -> None:
        """Tell the scheduler that a transaction with tasks was committed; returns at once.

        For connections whose library has no hook after commit (PyMySQL, mysqlclient, sqlite3).
        Without it the tasks wait for the scheduler's next poll.
        """
        self.service.hint_created()

    # -- steering ------------------------------------------------------------------------------

    def cancel(self, *task_ids: int) -> CancelReport:
        """Cancel tasks by number: waiting ones end at once, running ones are asked. Idempotent."""
        return self.service.cancel(*task_ids)

    def pause(self, kind: PauseTarget, name: int | str, reason: str = "") -> bool:
        """Hold back an executor, key, tenant, runner or cron task until `resume`.

        It outlives restarts. False if it was paused before. See `mqtasks.service.control.Control`,
        reached as ``app.service.control``, for editing and for acting on many tasks at once.
        """
        return self.service.control.pause(kind, name, reason)

    def resume(self, kind: PauseTarget, name: int | str) -> bool:
        """Lift a pause; False if there was none."""
        return self.service.control.resume(kind, name)

    def pauses(self) -> list[Pause]:
        """Return what is paused, by kind and name."""
        return self.service.control.pauses()

    def configure(self, settings: Settings) -> None:
        """Use other settings from now on; the present connection, if any, is closed."""
        self.close()
        with self._lock:
            self._settings = settings

    @contextmanager
    def borrowing(self, runtime: Runtime) -> Iterator[None]:
        """Use ``runtime`` instead of a connection of its own while the block lasts.

        `close` and `configure` do not touch it: they mean the connection that comes back
        afterwards. For tests, see `mqtasks.testing`. Blocks may be nested.
        """
        runtime.service.registry = self.registry
        with self._lock:
            earlier, self._lent = self._lent, runtime
        try:
            yield
        finally:
            with self._lock:
                self._lent = earlier

    def close(self) -> None:
        """Close the connection, if any; the next use connects again. Idempotent."""
        with self._lock:
            runtime, self._runtime = self._runtime, None
            mine = self._pid == os.getpid()
        if runtime is not None and mine:
            runtime.close()

    def __enter__(self) -> Self:
        """Return the application itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()


class _Decorator:
    """What ``@app.task(...)`` returns: registers the function below it."""

    def __init__(
        self,
        app: MQTasks,
        name: str | None,
        code: int | None,
        options: OptionFields,
        retry: RetryPolicy,
        *,
        payload_format: FormatName,
        allow_pickle: bool,
        isolation: Literal["process"] | None,
        memory_limit: int,
        window: UniqueWindow | None,
    ) -> None:
        if name is not None and code is not None:
            raise InvalidArgument("code", code, "give either a name or a code, not both")
        self._app = app
        self._code: int | str | None = code if name is None else name
        self._options = changed_options(DEFAULT_OPTIONS, options)
        self._retry = retry
        self._isolation = isolation
        self._memory_limit = memory_limit
        self._window = window
        self._codec = codec_of(payload_format, app.envelope, allow_pickle=allow_pickle)

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...

    def __call__(self, function: Callable[..., Any], /) -> Any:
        if isinstance(function, str):
            raise InvalidArgument("name", function, f"write it as @app.task(name={function!r})")
        code = self._code if self._code is not None else _name_of(function)
        definition = TaskDefinition.call(
            code,
            function,
            self._options,
            self._codec,
            retry=self._retry,
            isolation=self._isolation,
            memory_limit=self._memory_limit,
            window=self._window,
        )
        if not self._app.registry.register(definition):
            msg = f"executor {code!r} is registered already: give this one another name"
            raise ConfigError(msg)
        return Task(self._app, definition)


def _name_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        raise InvalidArgument(
            "function", function, "must be a function; give other things a name: @app.task(name=…)"
        )
    return name
