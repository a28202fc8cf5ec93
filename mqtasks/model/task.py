"""Records of async tasks: what a producer hands in and what storage gives back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from mqtasks.errors import InvalidArgument
from mqtasks.model.label import LabelRule
from mqtasks.model.rate import RateLimit
from mqtasks.model.status import ResultCode, TaskStatus

MAX_ID_BYTES: Final = 255
"""Longest metadata id, parent id, executor name and runner id, in bytes of UTF-8."""
MAX_EXECUTOR_NUMBER: Final = 2**32 - 1
MAX_EPOCH: Final = 2**32 - 1

_DIGITS = re.compile(r"[0-9]+\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FIELD = re.compile(r"\$\.(\w+)")


def checked_id(field: str, value: object, *, empty: bool = False) -> str:
    """Return ``value`` if it is a usable id: text of 1 (0 if ``empty``) to 255 bytes of UTF-8.

    Raises InvalidArgument naming ``field`` otherwise.
    """
    if not isinstance(value, str):
        raise InvalidArgument(field, value, f"must be text, not {type(value).__name__}")
    if not value and not empty:
        raise InvalidArgument(field, value, "must not be empty")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidArgument(
            field, value, "has a lone surrogate; pass valid Unicode text"
        ) from None
    if size > MAX_ID_BYTES:
        raise InvalidArgument(
            field, value, f"is {size} bytes of UTF-8, the limit is {MAX_ID_BYTES}; shorten it"
        )
    return value


def executor_code(value: int | str) -> str:
    """Return the stored form of an executor code.

    An int (u32, the reference's form) becomes ten digits, zero padded, so that order is numeric;
    a name stays as it is. Raises InvalidArgument for a negative or larger int, and for a name that
    is empty, longer than 255 bytes, or made of digits only.
    """
    if isinstance(value, bool):
        raise InvalidArgument("executor", value, "must be an int or a name")
    if isinstance(value, int):
        if not 0 <= value <= MAX_EXECUTOR_NUMBER:
            raise InvalidArgument("executor", value, "must fit an unsigned 32 bit integer")
        return f"{value:010d}"
    code = checked_id("executor", value)
    if _DIGITS.match(code):
        raise InvalidArgument("executor", value, "a name must not be digits only; pass an int")
    return code


def checked_executor(value: int | str) -> str:
    """As `executor_code`, and refuse control characters: for registering and for typed commands.

    Storages take any text, so that whatever is in one can be read and steered. Raises
    InvalidArgument.
    """
    code = executor_code(value)
    if not code.isprintable() and _CONTROL.search(code):  # the first is cheap, and too strict
        raise InvalidArgument("executor", value, "must not contain control characters")
    return code


def executor_value(code: str) -> int | str:
    """Return what `executor_code` was given: the int, or the name."""
    return int(code) if len(code) == 10 and _DIGITS.match(code) else code  # noqa: PLR2004


class TaskOptions(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How one task is placed, retried, limited and kept. Durations are seconds.

    Raises InvalidArgument from `validate` (called by every create) for values out of range.
    """

    max_retry_times: int = 0
    """How often a failed executor is run again; 0 = never. Crashes are counted apart."""
    retry_interval: float = 1.0
    """Delay before the first retry, >= 0."""
    backoff_factor: float = 2.0
    """Each further retry waits this many times longer, >= 1.0; 1.0 = fixed interval."""
    backoff_max: float = 3600.0
    """Upper bound of a retry's delay, >= 0."""
    jitter: float = 0.1
    """Share of the delay that is random, 0.0 to 1.0; it only ever shortens the delay."""
    delay_duration: float = 0.0
    """How long after creation the task becomes due, >= 0."""
    concurrency: int = 0
    """Most tasks of this executor that may be live at once, over the whole fleet; 0 = no limit."""
    concurrency_key: str = ""
    """Name of what tasks must share, over all executors: a customer, an account; empty = none."""
    key_concurrency: int | None = None
    """Most tasks with that key that may be live at once; None = 1, 0 = no limit."""
    rate_limit: RateLimit | str | None = None
    """How often tasks of this executor may start, over the whole fleet: ``10/s``, ``100/m``."""
    key_rate_limit: RateLimit | str | None = None
    """How often tasks with that key may start."""
    tenant: str = ""
    """Whose task it is: tenants that wait for the same runners take turns."""
    labels: Mapping[str, str | LabelRule] = {}
    """What the runner's labels must be: a value, or a rule made by ``label``."""
    cpu: float = 0.0
    """Cores reserved on the runner while the task is live, >= 0."""
    memory: int = 0
    """Bytes reserved on the runner while the task is live, >= 0."""
    resources: Mapping[str, float] = {}
    """Named amounts reserved on the runner while the task is live, > 0: ``{"gpu": 1}``."""
    timeout: float = 0.0
    """How long one attempt may run; it is then cancelled and counts as failed. 0 = no limit."""
    deadline: float = 0.0
    """How long after creation the task must have ended, all attempts and delays included: it then
    ends FAILED, wherever it is. 0 = no limit."""
    deadline_at: int = 0
    """... or the moment itself, unix ms on the database's clock; 0 = see ``deadline``."""
    priority: int = 0
    """Higher runs first among a tenant's tasks that compete for the same runners; 32 bits signed,
    and more than -2**31."""
    max_reassign_times: int = 0
    """How often the task may be taken from a lost runner before it ends FAILED; 0 = no limit."""
    retention: float | None = None
    """How long the ended row is kept; None = the service's default for its outcome."""
    tags: tuple[str, ...] = ()
    """Free words for people and filters; they decide nothing."""
    headers: Mapping[str, str] = {}
    """Text that travels with the task, for middleware: a trace's name, a locale. At most 16 KiB of
    UTF-8 in all."""

    def validate(self) -> None:
        """Raise InvalidArgument for the first value out of range. Cheap for default options."""
        if self is DEFAULT_OPTIONS:
            return
        self._check_types()
        for field, lowest in _LOWEST.items():
            value = getattr(self, field)
            if not value >= lowest:  # also refuses NaN
                raise InvalidArgument(f"options.{field}", value, f"must be >= {lowest}")
            if value > _HIGHEST:
                raise InvalidArgument(f"options.{field}", value, f"must be <= {_HIGHEST:.0f}")
        if self.jitter > 1:
            raise InvalidArgument("options.jitter", self.jitter, "must be between 0.0 and 1.0")
        if not -(2**31) < self.priority < 2**31:
            raise InvalidArgument("options.priority", self.priority, "must fit 32 bits, signed")
        if self.retention is not None and not 0 <= self.retention <= _HIGHEST:
            raise InvalidArgument(
                "options.retention", self.retention, f"must be >= 0 and <= {_HIGHEST:.0f}, or None"
            )
        self._check_deadline()
        self._check_limits()
        self._check_placement()
        for tag in self.tags:
            checked_id("options.tags", tag, empty=True)
        if self.headers:
            self._check_headers()

    def _check_headers(self) -> None:
        size = 0
        for name, value in self.headers.items():
            checked_id("options.headers", name)
            try:
                size += len(name.encode()) + len(value.encode())
            except UnicodeEncodeError:
                raise InvalidArgument(
                    f"options.headers[{name!r}]", value, "has a lone surrogate; pass valid text"
                ) from None
        if size > _MAX_HEADERS:
            raise InvalidArgument(
                "options.headers", size, f"have that many bytes, the limit is {_MAX_HEADERS}"
            )

    def _check_deadline(self) -> None:
        if not 0 <= self.deadline_at <= _HIGHEST:
            raise InvalidArgument(
                "options.deadline_at", self.deadline_at, f"must be >= 0 and <= {_HIGHEST:.0f}"
            )
        if self.deadline and self.deadline_at:
            raise InvalidArgument(
                "options.deadline", self.deadline, "give either deadline or deadline_at, not both"
            )

    def _check_limits(self) -> None:
        key = checked_id("options.concurrency_key", self.concurrency_key, empty=True)
        for field in ("key_concurrency", "key_rate_limit"):
            value = getattr(self, field)
            if value is not None and not key:
                raise InvalidArgument(f"options.{field}", value, "needs a concurrency_key")
        most = self.key_concurrency
        if most is not None and not 0 <= most <= _HIGHEST:
            raise InvalidArgument(
                "options.key_concurrency", most, f"must be >= 0 and <= {_HIGHEST:.0f}, or None"
            )
        for field in ("rate_limit", "key_rate_limit"):
            rate = getattr(self, field)
            if isinstance(rate, RateLimit):
                rate.validate(f"options.{field}")
            elif rate is not None:
                try:
                    RateLimit.parse(rate)
                except InvalidArgument as error:
                    name = error.field.replace("rate_limit", f"options.{field}")
                    raise InvalidArgument(name, error.value, error.remedy) from None

    def _check_placement(self) -> None:
        checked_id("options.tenant", self.tenant, empty=True)
        for key, rule in self.labels.items():
            checked_id("options.labels", key)
            for value in (rule,) if isinstance(rule, str) else rule.values:
                checked_id("options.labels", value, empty=True)
            if isinstance(rule, LabelRule) and not (
                rule.op in {"in", "not"} if rule.values else rule.op == "exists"
            ):
                raise InvalidArgument(
                    f"options.labels[{key!r}]", rule, "make it by label.in_, .not_ or .exists"
                )
        for name, amount in self.resources.items():
            checked_id("options.resources", name)
            if not 0 < amount <= _HIGHEST:
                raise InvalidArgument(
                    f"options.resources[{name!r}]", amount, f"must be > 0 and <= {_HIGHEST:.0f}"
                )

    def _check_types(self) -> None:
        """Refuse what could be stored but not be read back: it would break every query."""
        try:
            msgspec.convert(msgspec.structs.asdict(self), TaskOptions)
        except msgspec.ValidationError as error:
            what, _, path = str(error).partition(" - at ")
            name = _FIELD.findall(path)[0]  # the path of every error starts with the field
            wanted = _EXPECTED.match(what)
            if wanted is not None and path == f"`$.{name}`":
                words = (_WORDS.get(kind, kind) for kind in wanted[1].split(" | "))
                what = f"must be {' or '.join(words)}"
            raise InvalidArgument(f"options.{name}", getattr(self, name), what) from None


_EXPECTED: Final = re.compile(r"Expected `(.+?)`")
_WORDS: Final = {
    "float": "a number",
    "int": "a whole number",
    "str": "a str",
    "array": "a tuple or list, of one also: ('a',)",
    "object": "a mapping",
    "null": "None",
}
_HIGHEST: Final = float(2**53)
_MAX_HEADERS: Final = 16 * 1024
_LOWEST: Final[dict[str, float]] = {
    "max_retry_times": 0,
    "retry_interval": 0,
    "backoff_factor": 1,
    "backoff_max": 0,
    "jitter": 0,
    "delay_duration": 0,
    "concurrency": 0,
    "cpu": 0,
    "memory": 0,
    "timeout": 0,
    "deadline": 0,
    "max_reassign_times": 0,
}

DEFAULT_OPTIONS: Final = TaskOptions()
_encode_options = msgspec.json.Encoder(order="sorted").encode
_decode_options = msgspec.json.Decoder(TaskOptions).decode


def options_to_bytes(options: TaskOptions) -> bytes:
    """Return the stored form: canonical JSON without defaults; empty when all are defaults."""
    if options is DEFAULT_OPTIONS:
        return b""
    data = _encode_options(options)
    return b"" if data == b"{}" else data


def deadline_of(options: TaskOptions, created_at: int) -> int:
    """Return the deadline of a task created then, both in unix ms; 0 = it has none."""
    if options.deadline:
        return created_at + max(1, round(options.deadline * 1000))
    return options.deadline_at


def options_from_bytes(data: bytes) -> TaskOptions:
    """Return the options `options_to_bytes` stored."""
    return _decode_options(data) if data else DEFAULT_OPTIONS


class TaskMetadata(msgspec.Struct, frozen=True):
    """What a producer says about a task: the part that never changes by itself.

    ``id`` is the producer's own unique name: creating it twice creates it once. ``executor`` is a
    u32 or a name. ``context`` is the payload, opaque to mqtasks.
    """

    id: str
    executor: int | str
    context: bytes = b""
    options: TaskOptions = DEFAULT_OPTIONS

    def validate(self) -> None:
        """Raise InvalidArgument for the first field that storage would not take."""
        checked_id("metadata.id", self.id)
        executor_code(self.executor)
        if not isinstance(self.context, bytes):
            raise InvalidArgument("metadata.context", self.context, "must be bytes")
        self.options.validate()


class ExecuteResult(msgspec.Struct, frozen=True):
    """How a task ended: code, error text (empty on success) and result value bytes."""

    code: ResultCode = ResultCode.SUCCESS
    error: str = ""
    value: bytes = b""


SUCCESS: Final = ExecuteResult()


class AsyncTask(msgspec.Struct, frozen=True, kw_only=True):
    """One persisted unit of work. Times: unix ms on the database's clock, 0 = never."""

    id: int = 0
    """Storage's own number, u64; 0 = not stored yet."""
    metadata: TaskMetadata
    parent_task_id: str = ""
    """Metadata id of the task (or cron task) that made this one; empty = none."""
    status: TaskStatus = TaskStatus.CREATED
    runner: str = ""
    """Id of the runner that owns it while live, and that ended it afterwards."""
    generation: int = 0
    """Generation of that runner when the task was allocated."""
    epoch: int = 0
    """How often the task has been allocated; the fencing token. 1 = first execution."""
    attempt: int = 0
    """How often the executor itself has failed."""
    crashes: int = 0
    """How often its process died while the executor ran."""
    reassigned: int = 0
    """How often it was taken from a lost runner."""
    priority: int = 0
    """Copied from the options at creation; the row's value decides."""
    lane: int = 0
    """Hash of what decides its placement; see `mqtasks.model.lane`."""
    run_at: int = 0
    """When it is or was due."""
    last_heartbeat: int = 0
    created_at: int = 0
    started_at: int = 0
    """When the executor was started in this epoch, as far as storage knows (0 = not known)."""
    completed_at: int = 0
    execute_result: ExecuteResult | None = None
    progress: bytes = b""

    @property
    def deadline(self) -> int:
        """When it must have ended, on the database's clock; 0 = it has no deadline."""
        return deadline_of(self.metadata.options, self.created_at)


class TaskEpoch(msgspec.Struct, frozen=True):
    """One allocation of one task: what a worker names in everything it writes."""

    task_id: int
    epoch: int


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """History of one allocation that did not end in success. Times: unix ms, database clock."""

    task_id: int
    epoch: int
    runner: str
    outcome: int
    """An `AttemptOutcome`."""
    started_at: int = 0
    ended_at: int = 0
    error: str = ""
    traceback: str = ""
