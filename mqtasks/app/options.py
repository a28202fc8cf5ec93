"""What ``@app.task(...)`` and ``task.options(...)`` take, in one definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias, TypedDict

import msgspec

from mqtasks.app.handle import TaskHandle
from mqtasks.errors import InvalidArgument
from mqtasks.model import LabelRule, RateLimit, TaskOptions
from mqtasks.retry import ErrorTypes, RetryDelay, RetryPolicy

Duration: TypeAlias = float | timedelta
"""Seconds, or a timedelta."""

OnFailure: TypeAlias = Literal["cancel", "run", "fail"]
"""What becomes of a task when one that it waits for has failed, was canceled, or was deleted."""


class OptionFields(TypedDict, total=False):
    """The fields of `TaskOptions`, which see, and two short names."""

    max_retry_times: int
    retry_interval: Duration
    backoff_factor: float
    backoff_max: Duration
    jitter: float
    delay_duration: Duration
    concurrency: int
    concurrency_key: str
    key_concurrency: int | None
    rate_limit: RateLimit | str | None
    key_rate_limit: RateLimit | str | None
    tenant: str
    labels: Mapping[str, str | LabelRule]
    cpu: float
    memory: int
    resources: Mapping[str, float]
    timeout: Duration
    deadline: Duration | datetime
    """From creation, or an aware moment: ``deadline_at`` then."""
    priority: int
    max_reassign_times: int
    retention: Duration | None
    tags: tuple[str, ...]
    headers: Mapping[str, str]
    delay: Duration
    """Short for ``delay_duration``."""
    key: str
    """Short for ``concurrency_key``."""


class CallFields(OptionFields, total=False):
    """What one call can have beside: see `Task.options`."""

    id: str | None
    at: datetime | None
    parent: str
    connection: Any
    after: Sequence[TaskHandle[Any] | str]
    on_failure: OnFailure
    unique_for: Duration | None
    unique_key: str | None


SHORT_NAMES: Final = {"delay": "delay_duration", "key": "concurrency_key"}
CALL_ONLY: Final = frozenset(
    {"id", "at", "parent", "connection", "after", "on_failure", "unique_for", "unique_key"}
)


def changed_options(base: TaskOptions, changes: Mapping[str, Any]) -> TaskOptions:
    """Return ``base`` with `OptionFields` changed, validated.

    Raises InvalidArgument for an unknown or doubled name, and for a value out of range.
    """
    if not changes:
        return base
    fields: dict[str, Any] = {}
    for name, value in changes.items():
        if name == "deadline":
            fields |= _deadline(value)
            continue
        field = SHORT_NAMES.get(name, name)
        if field not in TaskOptions.__struct_fields__:
            raise _unknown(name, value)
        if field in fields:
            short = next(key for key, long in SHORT_NAMES.items() if long == field)
            raise InvalidArgument(short, changes[short], f"give either {short} or {field}")
        fields[field] = value.total_seconds() if isinstance(value, timedelta) else value
    changed = msgspec.structs.replace(base, **fields)
    changed.validate()
    return changed


def _unknown(name: str, value: object) -> InvalidArgument:
    if name in CALL_ONLY:
        return InvalidArgument(
            name, value, f"is said for a call: task.options({name}=...).enqueue(...)"
        )
    known = ", ".join((*TaskOptions.__struct_fields__, *SHORT_NAMES))
    of_calls = ", ".join(sorted(CALL_ONLY))
    return InvalidArgument(
        "options", name, f"is no option; known: {known}; of a call, in task.options(): {of_calls}"
    )


def _deadline(value: Any) -> dict[str, Any]:
    if not isinstance(value, datetime):
        seconds = value.total_seconds() if isinstance(value, timedelta) else value
        return {"deadline": seconds, "deadline_at": 0}
    if value.tzinfo is None:
        raise InvalidArgument("deadline", value, "must be aware: add tzinfo, for example UTC")
    return {"deadline": 0.0, "deadline_at": max(1, int(value.timestamp() * 1000))}


_BACKOFF: Final = ("retry_interval", "backoff_factor", "backoff_max", "jitter")


def policy_for(
    options: Mapping[str, Any],
    retry_on: ErrorTypes | None,
    give_up_on: ErrorTypes | None,
    delay: Duration | RetryDelay | None,
) -> RetryPolicy:
    """Return the policy of a task with these `OptionFields`.

    Raises InvalidArgument for a bad value, and for one that could have no effect.
    """
    policy = RetryPolicy.of(retry_on, give_up_on, delay)
    if not options.get("max_retry_times"):
        given = {"retry_on": retry_on, "give_up_on": give_up_on, "retry_delay": delay}
        for name, value in given.items():
            if value is not None:
                raise InvalidArgument(
                    name, value, "has no effect without retries: give max_retry_times >= 1 too"
                )
    if isinstance(policy.delay, float):
        for name in _BACKOFF:
            if name in options:
                raise InvalidArgument(
                    name, options[name], "has no effect beside retry_delay: leave one of them out"
                )
    return policy
