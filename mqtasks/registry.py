"""Which function runs the tasks of which executor code."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from mqtasks.errors import ConfigError, InvalidArgument, UnknownExecutor
from mqtasks.middleware import Middleware, checked
from mqtasks.model import DEFAULT_OPTIONS, TaskOptions, executor_value
from mqtasks.model.task import checked_executor
from mqtasks.model.window import UniqueWindow
from mqtasks.payload import PLAIN, CallSignature, Envelope, FormatName, PayloadCodec, is_async
from mqtasks.retry import DEFAULT_POLICY, RetryPolicy

Convention: TypeAlias = Literal["raw", "call"]
Isolation: TypeAlias = Literal["thread", "async", "process"]

DEFAULT_CODEC: Final = PayloadCodec(sys.maxsize)
"""JSON. The size is bounded by the task service, whose limit is a setting."""


def codec_of(
    payload_format: FormatName = "json", envelope: Envelope = PLAIN, *, allow_pickle: bool = False
) -> PayloadCodec:
    """Return a codec for the tasks of an application, bounded as `DEFAULT_CODEC` is."""
    return PayloadCodec(
        sys.maxsize, allow_pickle=allow_pickle, format=payload_format, envelope=envelope
    )


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """One executor: a function, how it is called, and the options its tasks have by default.

    Make it with `raw` or `call`. Raises InvalidArgument for a bad code or option, ConfigError for
    something that cannot be called and for generators, which would return without having run.
    """

    code: str
    """Stored form of the executor code; see `mqtasks.model.executor_code`."""
    function: Callable[..., Any]
    convention: Convention
    """``raw``: called with (TaskContext, AsyncTask), as in the reference. ``call``: called with the
    arguments of the payload."""
    options: TaskOptions = DEFAULT_OPTIONS
    signature: CallSignature | None = None
    """What it may be called with; None for ``raw``."""
    isolation: Isolation = "thread"
    """``process``: each task has a child process to itself while it runs, see
    docs/how-to/isolation.md. Else ``async`` for coroutine functions, which share an event loop, and
    ``thread`` for all others."""
    codec: PayloadCodec = DEFAULT_CODEC
    """Reads its arguments and writes its results; the task service bounds their size."""
    retry: RetryPolicy = DEFAULT_POLICY
    """Judges its failures; what it says is code, and not stored with the tasks."""
    memory_limit: int = 0
    """Bytes of data that its process may have while a task runs; 0 = what the runner says."""
    window: UniqueWindow | None = None
    """Within what period equal calls are one task, unless a call says otherwise."""

    @classmethod
    def raw(
        cls,
        code: int | str,
        executor: Callable[[Any, Any], Any],
        options: TaskOptions = DEFAULT_OPTIONS,
        *,
        retry: RetryPolicy = DEFAULT_POLICY,
    ) -> TaskDefinition:
        """Define an executor in the reference's form: ``executor(context, task)``."""
        checked = _checked(code, executor)
        try:
            inspect.signature(executor).bind(None, None)
        except TypeError as error:
            raise ConfigError(
                f"executor {code!r}: {executor!r} must take (context, task): {error}"
            ) from error
        except ValueError:
            pass  # a builtin that does not tell its parameters
        isolation = _isolation_of(executor)
        return cls(*checked, "raw", _valid(options), None, isolation, retry=retry)

    @classmethod
    def call(
        cls,
        code: int | str,
        function: Callable[..., Any],
        options: TaskOptions = DEFAULT_OPTIONS,
        codec: PayloadCodec = DEFAULT_CODEC,
        *,
        retry: RetryPolicy = DEFAULT_POLICY,
        isolation: Literal["process"] | None = None,
        memory_limit: int = 0,
        window: UniqueWindow | None = None,
    ) -> TaskDefinition:
        """Define a plain function whose arguments come from the payload.

        Raises PayloadError for an annotation no stored argument can be converted to.
        """
        checked = _checked(code, function)
        signature = CallSignature.for_function(function)
        if isolation not in {None, "process"}:
            raise InvalidArgument(
                "isolation", isolation, "must be 'process', or left out: threads, or the event loop"
            )
        if type(memory_limit) is not int or memory_limit < 0:  # a bool is no size
            raise InvalidArgument("memory_limit", memory_limit, "must be bytes, >= 0")
        if memory_limit and isolation is None:
            raise InvalidArgument("memory_limit", memory_limit, "needs isolation='process'")
        chosen = isolation or _isolation_of(function)
        valid = _valid(options)
        return cls(*checked, "call", valid, signature, chosen, codec, retry, memory_limit, window)

    def unisolated(self) -> TaskDefinition:
        """Return the same executor, as it runs in the very process that asks."""
        return replace(self, isolation=_isolation_of(self.function), memory_limit=0)

    @property
    def executor(self) -> int | str:
        """The executor code as it was given: an int or a name."""
        return executor_value(self.code)


class TaskRegistry:
    """The executors of one process, by code. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._definitions: dict[int | str, TaskDefinition] = {}
        self._codes: tuple[str, ...] = ()
        self._middlewares: tuple[Middleware, ...] = ()

    def register(self, definition: TaskDefinition) -> bool:
        """Add an executor; return False, and change nothing, if its code has one already."""
        with self._lock:
            if definition.executor in self._definitions:
                return False
            self._definitions[definition.executor] = definition
            self._codes = tuple(sorted((*self._codes, definition.code)))
            return True

    def get(self, code: int | str) -> TaskDefinition | None:
        """Return the executor of ``code``, an int, a name or a stored form; None if unknown."""
        found = self._definitions.get(code)
        if found is None and isinstance(code, str):
            found = self._definitions.get(executor_value(code))
        return found

    def require(self, code: int | str) -> TaskDefinition:
        """Return the executor of ``code``. Raises UnknownExecutor, which names the known ones."""
        found = self.get(code)
        if found is None:
            raise UnknownExecutor(code, tuple(executor_value(known) for known in self._codes))
        return found

    def use(self, *middlewares: Middleware) -> None:
        """Let middlewares stand around all tasks here; those added first are the outer ones.

        One that is there already is not added again. Raises ConfigError for what is none.
        """
        for middleware in middlewares:
            checked(middleware)
        with self._lock:
            present = self._middlewares
            added = [one for one in dict.fromkeys(middlewares) if one not in present]
            self._middlewares = (*present, *added)

    @property
    def middlewares(self) -> tuple[Middleware, ...]:
        """The middlewares, outermost first."""
        return self._middlewares

    def codes(self) -> tuple[str, ...]:
        """Return the stored forms of all codes, sorted: what a runner announces."""
        return self._codes

    def __len__(self) -> int:
        return len(self._codes)

    def __iter__(self) -> Iterator[TaskDefinition]:
        """Yield the definitions in the order of their codes."""
        return iter([self.require(code) for code in self._codes])

    def __contains__(self, code: int | str) -> bool:
        return self.get(code) is not None


def _checked(code: int | str, function: Callable[..., Any]) -> tuple[str, Callable[..., Any]]:
    stored = checked_executor(code)
    if not callable(function):
        raise ConfigError(f"executor {code!r}: {function!r} cannot be called; pass a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(
            f"executor {code!r}: {function!r} is a generator, whose body would never run; return"
            " a value instead of yielding"
        )
    return stored, function


def _valid(options: TaskOptions) -> TaskOptions:
    options.validate()
    return options


def _isolation_of(function: Callable[..., Any]) -> Isolation:
    return "async" if is_async(function) else "thread"
