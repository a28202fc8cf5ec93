"""What a task is to run, as typed: ``MODULE:APP TASK ARGS`` or ``--executor --payload``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from mqtasks.cli.options import option
from mqtasks.errors import InvalidArgument

if TYPE_CHECKING:
    from mqtasks.app import MQTasks
    from mqtasks.model import TaskOptions
    from mqtasks.registry import TaskDefinition

F = TypeVar("F", bound=Callable[..., Any])

_KEYWORD: Final = re.compile(r"([A-Za-z_]\w*)=(.*)\Z", re.DOTALL)
_NUMBER: Final = re.compile(r"[+-]?[0-9]+\Z")


class Target(NamedTuple):
    """An executor and its payload."""

    executor: int | str
    context: bytes
    options: TaskOptions
    app: MQTasks | None
    """The app that was named, which may say where tasks live; None with ``--executor``."""
    definition: TaskDefinition | None
    """What the app knows about the executor."""


def target_arguments(command: F) -> F:
    """Add the arguments and options that name a target; `find_target` takes their values."""
    for decorate in (
        option(
            "--payload",
            metavar="TEXT|@FILE|-",
            help="With --executor: the task's context as it is, or from a file, or from stdin.",
        ),
        option("--executor", metavar="CODE", help="Name (or number) of an executor, unchecked."),
        click.argument("arguments", nargs=-1, metavar="[ARG]...]"),
        click.argument("task", required=False, metavar="TASK"),
        click.argument("app", required=False, metavar="[MODULE:APP"),
    ):
        command = decorate(command)
    return command


def find_target(
    app: str | None,
    task: str | None,
    arguments: Sequence[str],
    executor: str | None,
    payload: str | None,
) -> Target:
    """Return what to run; arguments are checked against the task's signature.

    Raises UsageError, AppImportError, UnknownExecutor, InvalidArgument, PayloadError.
    """
    from mqtasks.model import DEFAULT_OPTIONS
    from mqtasks.model.task import checked_executor

    if executor is not None:
        if app is not None:
            raise click.UsageError("give either MODULE:APP TASK or --executor CODE, not both")
        context = b"" if payload is None else payload_argument(payload)
        code = executor_argument(executor)
        checked_executor(code)
        return Target(code, context, DEFAULT_OPTIONS, None, None)
    if app is None or task is None:
        raise click.UsageError("name what to run: MODULE:APP TASK [ARG]..., or --executor CODE")
    from mqtasks.cli.apps import load_app

    loaded = load_app(app)
    definition = loaded.registry.require(int(task) if _NUMBER.match(task) else task)
    if definition.signature is None:
        if arguments:
            raise click.UsageError(f"{task} takes a raw payload: use --payload instead of ARG")
        context = b"" if payload is None else payload_argument(payload)
    elif payload is not None:
        raise click.UsageError(f"{task} takes arguments: write them as ARG, without --payload")
    else:
        args, kwargs = json_arguments(arguments)
        context = definition.codec.encode_call(args, kwargs, definition.signature)
    return Target(definition.executor, context, definition.options, loaded, definition)


def executor_argument(text: str) -> int | str:
    """Return an executor code as typed: digits are the reference's number, else a name."""
    from mqtasks.model import executor_code

    code: int | str = int(text) if _NUMBER.match(text) else text
    executor_code(code)  # raises InvalidArgument
    return code


def json_arguments(texts: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and keyword arguments: each is ``JSON`` or ``name=JSON``.

    Raises InvalidArgument for what is not JSON; the remedy shows how to quote text.
    """
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for text in texts:
        match = _KEYWORD.match(text)
        if match is None:
            positional.append(_json(text))
        else:
            keywords[match[1]] = _json(match[2])
    return positional, keywords


def payload_argument(text: str) -> bytes:
    """Return a payload as typed: text, ``@file``, or ``-`` for what comes on stdin."""
    if text == "-":
        return sys.stdin.buffer.read()
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_bytes()
        except OSError as error:
            raise InvalidArgument("payload", text, f"cannot be read: {error.strerror}") from error
    return text.encode()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        quoted = json.dumps(text, ensure_ascii=False)
        raise InvalidArgument(
            "argument", text, f"is not JSON; if it is meant as text, write '{quoted}'"
        ) from None
