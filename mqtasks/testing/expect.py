"""Comparing enqueued tasks with what a test expects, and saying where they differ."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mqtasks.app.options import SHORT_NAMES
from mqtasks.errors import InvalidArgument, PayloadError
from mqtasks.model import AsyncTask, TaskOptions
from mqtasks.registry import TaskDefinition, TaskRegistry, codec_of

if TYPE_CHECKING:
    from mqtasks.app import MQTasks

_MOST_SHOWN: Final = 10
_LONGEST_VALUE: Final = 60
_MOMENTS: Final = frozenset({"at", "deadline"})
_SHOWN_AS: Final = {field: name for name, field in SHORT_NAMES.items()}


class Enqueued(NamedTuple):
    """A task as it was enqueued."""

    row: AsyncTask
    """The task as stored now."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    problem: str = ""
    """Why its arguments cannot be read, if they cannot."""

    @property
    def delay(self) -> float:
        """Seconds from its creation until it was to be due."""
        row = self.row
        return row.metadata.options.delay_duration or max(0, row.run_at - row.created_at) / 1000

    def __str__(self) -> str:
        """Show its call and its state."""
        shown = [_short(value) for value in self.args]
        shown += [f"{name}={_short(value)}" for name, value in self.kwargs.items()]
        call = f"{self.row.metadata.executor}({self.problem or ', '.join(shown)})"
        return f"{call}  task {self.row.id}, {self.row.status.name}"


def enqueued_of(app: MQTasks, rows: Sequence[AsyncTask]) -> list[Enqueued]:
    """Return tasks with their arguments."""
    return [_enqueued(app, row) for row in rows]


def _enqueued(app: MQTasks, row: AsyncTask) -> Enqueued:
    definition = app.registry.get(row.metadata.executor)
    if definition is not None and definition.convention == "raw":
        return Enqueued(row, (row.metadata.context,), {})
    codec = codec_of(envelope=app.envelope) if definition is None else definition.codec
    signature = None if definition is None else definition.signature
    try:
        args, kwargs = codec.decode_call(row.metadata.context, signature)
    except PayloadError as error:
        return Enqueued(row, (), {}, f"arguments that cannot be read: {error}")
    return Enqueued(row, args, kwargs)


class Expectation:
    """What a test expects of a task. Raises InvalidArgument for what no task can be like."""

    def __init__(
        self,
        executor: int | str,
        registry: TaskRegistry,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        self._executor = executor
        definition = registry.get(executor)
        self._signature = _signature_of(definition)
        self._wanted = self._bound(args, kwargs, partial=True)
        self._options: dict[str, Any] = {}
        for name, value in options.items():
            field = SHORT_NAMES.get(name, name)
            if field not in {*TaskOptions.__struct_fields__, "id", "at"}:
                raise InvalidArgument("options", name, "is nothing that a task could be given")
            shown = _SHOWN_AS.get(field, field)
            self._options[shown] = value.total_seconds() if isinstance(value, timedelta) else value
        for name in _MOMENTS & self._options.keys():
            moment = self._options[name]
            if not isinstance(moment, datetime):
                continue
            if moment.tzinfo is None:
                raise InvalidArgument(name, moment, "must be aware: add tzinfo, for example UTC")
            # Rows hold whole milliseconds, made in the same way.
            self._options[name] = _moment(int(moment.timestamp() * 1000))

    def differences(self, found: Enqueued) -> list[str]:
        """Return in what a task differs, one line each; none if it is as expected."""
        if found.row.metadata.executor != self._executor:
            return ["another task"]
        if found.problem:
            return ["unreadable"] if self._wanted else []
        has = self._bound(found.args, found.kwargs, partial=False)
        lines = [
            f"{name}={_short(has[name]) if name in has else 'not given'}, not {_short(value)}"
            for name, value in self._wanted.items()
            if name not in has or not value == has[name]  # noqa: SIM201 - matchers define ==
        ]
        for name, value in self._options.items():
            actual = self._option(found, name)
            if not value == actual:  # noqa: SIM201 - as above
                lines.append(f"{name}={_short(actual)}, not {_short(value)}")
        return lines

    def __str__(self) -> str:
        """Show it as a call."""
        shown = [f"{name}={_short(value)}" for name, value in self._wanted.items()]
        call = f"{self._executor}({', '.join(shown)})"
        options = ", ".join(f"{name}={_short(value)}" for name, value in self._options.items())
        return f"{call} with {options}" if options else call

    def _bound(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, partial: bool
    ) -> dict[str, Any]:
        """Return values by parameter, so that it does not matter how they were passed."""
        if self._signature is None:
            return {f"#{n}": value for n, value in enumerate(args)} | dict(kwargs)
        try:
            if partial:
                return dict(self._signature.bind_partial(*args, **kwargs).arguments)
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            if partial:
                raise InvalidArgument(
                    "args", (*args, *kwargs.values()), f"do not fit {self._executor!r}: {error}"
                ) from None
            return {f"#{n}": value for n, value in enumerate(args)} | dict(kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    @staticmethod
    def _option(found: Enqueued, name: str) -> Any:
        options = found.row.metadata.options
        if name == "id":
            return found.row.metadata.id
        if name == "at":
            return _moment(found.row.run_at)
        if name == "delay":
            return found.delay
        if name == "deadline":
            at = options.deadline_at
            return _moment(at) if at else options.deadline
        return getattr(options, SHORT_NAMES.get(name, name))


def _moment(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC)


def _signature_of(definition: TaskDefinition | None) -> inspect.Signature | None:
    if definition is None or definition.convention == "raw":
        return None
    return inspect.signature(definition.function)


def matching(expected: Expectation, found: Sequence[Enqueued]) -> list[Enqueued]:
    """Return those that are as expected."""
    return [one for one in found if not expected.differences(one)]


def explain(expected: Expectation, found: Sequence[Enqueued], count: int | None) -> str:
    """Return the message for a test that fails: what was expected, and what there is instead."""
    matched = len(matching(expected, found))
    has = {0: "no task is", 1: "1 task is"}.get(matched, f"{matched} tasks are")
    lines = [f"{has} enqueued as {expected}" + ("" if count is None else f", not {count}")]
    if not found:
        return f"{lines[0]}; nothing is enqueued at all"
    compared = [(expected.differences(one), one) for one in found]
    compared.sort(key=lambda pair: (pair[0] == ["another task"], len(pair[0]), pair[1].row.id))
    lines[0] += f"; what is, nearest first ({len(found)}):"
    for differences, one in compared[:_MOST_SHOWN]:
        lines.append(f"  {one}  [{'; '.join(differences) or 'matches'}]")
    if len(found) > _MOST_SHOWN:
        lines.append(f"  ... and {len(found) - _MOST_SHOWN} more")
    return "\n".join(lines)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
