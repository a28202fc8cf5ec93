"""`MQTasks`: an application's functions and its connection to the task service."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar, overload

from mqtasks.app.task import Task
from mqtasks.config import Settings
from mqtasks.errors import ConfigError, InvalidArgument
from mqtasks.model import TaskOptions
from mqtasks.registry import DEFAULT_CODEC, PICKLE_CODEC, TaskDefinition, TaskRegistry
from mqtasks.runtime import Runtime
from mqtasks.service import TaskService

P = ParamSpec("P")
R = TypeVar("R")


class MQTasks:
    """An application: functions registered as tasks, and where the tasks live.

    ``url`` names the storage (``sqlite:///tasks.db``, ``mysql://user:password@host/database``,
    ``memory://``), ``redis`` the hints. What is not given comes from MQTASKS_* variables, then
    from the configuration file, then from defaults. Nothing is connected before the first use.
    Safe to use from many threads; after a fork the child connects anew.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        redis: str | None = None,
        namespace: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Describe the application; raises nothing before `settings` are needed."""
        if settings is not None and (url, redis, namespace) != (None, None, None):
            raise InvalidArgument("settings", settings, "give settings, or url, redis, namespace")
        self.registry: Final = TaskRegistry()
        given = {"url": url, "redis": redis, "namespace": namespace}
        self._given: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        self._settings = settings
        self._lock = threading.RLock()
        self._runtime: Runtime | None = None
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
        allow_pickle: bool = False,
        **options: Any,
    ) -> _Decorator: ...

    def task(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        code: int | None = None,
        allow_pickle: bool = False,
        **options: Any,
    ) -> Any:
        """Register a function (``def`` or ``async def``) as a task.

        Used bare or with arguments. The executor code is ``code`` (a u32), or ``name``, or the
        function's own name; one code cannot be registered twice (ConfigError). ``options`` are
        fields of `TaskOptions`. ``allow_pickle`` lets arguments and results of this task be
        pickled where JSON cannot express them.
        """
        decorator = _Decorator(self, name, code, options, allow_pickle=allow_pickle)
        return decorator if function is None else decorator(function)

    # -- connection ----------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings in force; loaded at first use. Raises ConfigError."""
        with self._lock:
            if self._settings is None:
                self._settings = Settings.load(**self._given)
            return self._settings

    @property
    def service(self) -> TaskService:
        """The task service; connected at first use, again in a forked child.

        Raises ConfigError, SchemaMismatch, StorageUnavailable.
        """
        runtime = self._runtime
        if runtime is not None and self._pid == os.getpid():
            return runtime.service
        with self._lock:
            if self._runtime is None or self._pid != os.getpid():
                self._runtime = Runtime.open(self.settings)
                self._pid = os.getpid()
            return self._runtime.service

    def committed(self) -> None:
        """Tell the scheduler that a transaction with tasks was committed; returns at once.

        For connections whose library has no hook after commit (PyMySQL, mysqlclient, sqlite3).
        Without it the tasks wait for the scheduler's next poll.
        """
        self.service.hint_created()

    def configure(self, settings: Settings) -> None:
        """Use other settings from now on; the present connection, if any, is closed."""
        self.close()
        with self._lock:
            self._settings = settings

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
        options: dict[str, Any],
        *,
        allow_pickle: bool,
    ) -> None:
        if name is not None and code is not None:
            raise InvalidArgument("code", code, "give either a name or a code, not both")
        unknown = sorted(set(options) - set(TaskOptions.__struct_fields__))
        if unknown:
            known = ", ".join(TaskOptions.__struct_fields__)
            raise InvalidArgument("options", unknown[0], f"is no option; known: {known}")
        self._app = app
        self._code: int | str | None = code if name is None else name
        self._options = TaskOptions(**options)
        self._options.validate()
        self._allow_pickle = allow_pickle

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...

    def __call__(self, function: Callable[..., Any], /) -> Any:
        code = self._code if self._code is not None else function.__name__
        codec = PICKLE_CODEC if self._allow_pickle else DEFAULT_CODEC
        definition = TaskDefinition.call(code, function, self._options, codec)
        if not self._app.registry.register(definition):
            msg = f"executor {code!r} is registered already: give this one another name"
            raise ConfigError(msg)
        return Task(self._app, definition)
