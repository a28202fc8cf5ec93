"""What ``mqtasks tasks edit`` puts into a task, as typed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from mqtasks.errors import InvalidArgument

if TYPE_CHECKING:
    from mqtasks.model import AsyncTask, TaskOptions


def new_context(args: str | None, kwargs: str | None, payload: str | None) -> bytes | None:
    """Return the payload that was typed; None = it stays. Raises UsageError, InvalidArgument."""
    from mqtasks.cli.targets import payload_argument
    from mqtasks.payload import PayloadCodec

    if payload is not None:
        if args is not None or kwargs is not None:
            raise click.UsageError("give either --payload, or --args and --kwargs")
        return payload_argument(payload)
    if args is None and kwargs is None:
        return None
    positional = _json("args", args, list)
    named = _json("kwargs", kwargs, dict)
    return PayloadCodec().encode_call(positional, named)


def new_options(task: AsyncTask, priority: int | None) -> TaskOptions | None:
    """Return the task's options with what was typed; None = they stay."""
    from msgspec.structs import replace

    return None if priority is None else replace(task.metadata.options, priority=priority)


def _json(name: str, text: str | None, kind: type) -> Any:
    if text is None:
        return kind()
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidArgument(name, text, f"is not JSON: {error}") from None
    if not isinstance(value, kind):
        shape = "a list" if kind is list else "an object"
        raise InvalidArgument(name, text, f"must be {shape}")
    return value
