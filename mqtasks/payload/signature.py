"""What a function may be called with, and how its stored arguments become Python values again."""

from __future__ import annotations

import difflib
import functools
import inspect
import logging
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from mqtasks.errors import PayloadError
from mqtasks.payload.convert import DECODE_ERRORS
from mqtasks.payload.formats import FORMATS, JSON, Decode, Format

_log = logging.getLogger("mqtasks.payload")

Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]

_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def is_async(call: object) -> bool:
    """Return whether calling ``call`` gives a coroutine: also for partials and objects."""
    while isinstance(call, functools.partial):
        call = call.func
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
        getattr(call, "__call__", None)  # noqa: B004 - its kind is asked, not its existence
    )


class CallSignature:
    """Parameters and annotations of one function, prepared once. Immutable; safe in many threads.

    Make it with `for_function`. A parameter whose annotation cannot be resolved at run time (a name
    imported under TYPE_CHECKING, say) counts as not annotated: its argument stays a plain value.
    """

    def __init__(self, name: str, signature: inspect.Signature, hints: Mapping[str, Any]) -> None:
        self._signature = signature
        self.name = name
        """Name of the function, for messages."""
        self.return_type: Any = hints.get("return", Any)
        """Its return annotation; Any if there is none."""
        positional: list[str] = []
        keyword: dict[str, int] = {}
        required: list[tuple[str, int]] = []
        self._var_positional: str | None = None
        self._var_keyword: str | None = None
        self._decoders: dict[Format, dict[str, Decode]] = {form: {} for form in FORMATS.values()}
        self._bytes: set[str] = set()
        for parameter in signature.parameters.values():
            at = len(positional)
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                self._var_positional = parameter.name
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                self._var_keyword = parameter.name
            else:
                if parameter.kind in _POSITIONAL:
                    positional.append(parameter.name)
                else:
                    at = -1  # no number of positional arguments reaches it
                if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
                    keyword[parameter.name] = at
                if parameter.default is inspect.Parameter.empty:
                    required.append((parameter.name, at))
            hint = hints.get(parameter.name, Any)
            if hint is not Any:
                if parameter.default is None:
                    hint = hint | None  # `x: int = None` means that
                self._prepare(parameter.name, hint)
            if hint is bytes or bytes in typing.get_args(hint):
                self._bytes.add(parameter.name)
        self._positional = tuple(positional)
        self._keyword = keyword
        self._required = tuple(required)

    @property
    def converts(self) -> bool:
        """Whether any parameter is annotated, so that decoding checks and converts."""
        return bool(self._decoders[JSON])

    @classmethod
    def for_function(cls, function: Callable[..., Any]) -> CallSignature:
        """Read the signature of ``function``: also of a method, partial or callable object.

        Raises PayloadError for an annotation no stored argument can be converted to.
        """
        target: Any = function
        while isinstance(target, functools.partial):
            target = target.func
        name = getattr(target, "__qualname__", type(target).__qualname__).rpartition(".")[2]
        if not inspect.isroutine(target) and not isinstance(target, type):
            target = target.__call__
        return cls(name, inspect.signature(function), _resolve_hints(name, target))

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise PayloadError, naming the parameter, if the function cannot be called like this."""
        given = len(args)
        if given > len(self._positional) and self._var_positional is None:
            raise PayloadError(
                f"{self.name}() takes {len(self._positional)} positional arguments, got {given}"
            )
        for name in kwargs:
            at = self._keyword.get(name)
            if at is None:
                if self._var_keyword is None:
                    raise PayloadError(self._unknown(name))
            elif 0 <= at < given:
                raise PayloadError(f"{self.name}() got argument {name!r} twice")
        for name, at in self._required:
            if not 0 <= at < given and (name not in kwargs or name not in self._keyword):
                raise PayloadError(f"{self.name}() needs argument {name!r}")

    def by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call that fits by parameter, defaults filled in."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def parameter(self, position: int) -> str:
        """Return the name of the parameter that takes positional argument ``position``."""
        if position < len(self._positional):
            return self._positional[position]
        return self._var_positional or str(position)

    def takes_raw_bytes(self, position: int) -> bool:
        """Return whether bytes at ``position`` may arrive as bytes: annotated so, or not at all."""
        name = self.parameter(position)
        return name in self._bytes or name not in self._decoders[JSON]

    def check_bytes(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise PayloadError for a bytes argument that would arrive as base64 text."""
        if bytes not in map(type, args) and bytes not in map(type, kwargs.values()):
            return
        named = [(self.parameter(position), value) for position, value in enumerate(args)]
        for name, value in (*named, *kwargs.items()):
            if type(value) is bytes and self._parameter_of_keyword(name) not in self._bytes:
                raise PayloadError(
                    f"{self.name}(): argument {name!r} is bytes: annotate the parameter with bytes,"
                    " or pass text"
                )

    def decode(self, data: bytes | memoryview, form: Format = JSON) -> Call:
        """Return args and kwargs from ``[[...], {...}]`` in a format, as the annotations say.

        Raises PayloadError naming the parameter that does not fit.
        """
        decoders = self._decoders[form]
        if not decoders:
            return decode_untyped(data, form)
        try:
            args, kwargs = form.decode_raw_call(data)
        except DECODE_ERRORS as error:
            raise _not_a_call(form, error) from error
        plain = form.decode
        name = ""
        try:
            values = []
            for position, raw in enumerate(args):
                name = self.parameter(position)
                values.append(decoders.get(name, plain)(raw))
            by_name = {}
            for name, raw in kwargs.items():
                by_name[name] = decoders.get(self._parameter_of_keyword(name), plain)(raw)
        except DECODE_ERRORS as error:
            raise PayloadError(f"{self.name}(): argument {name!r} does not fit: {error}") from error
        return tuple(values), by_name

    def _parameter_of_keyword(self, name: str) -> str:
        if name not in self._keyword and self._var_keyword is not None:
            return self._var_keyword
        return name

    def _prepare(self, parameter: str, hint: Any) -> None:
        try:
            for form, decoders in self._decoders.items():
                decoders[parameter] = _decoder(form, hint)
        except TypeError as error:
            raise PayloadError(
                f"{self.name}(): parameter {parameter!r} is annotated"
                f" {inspect.formatannotation(hint)}, to which no stored argument can be converted"
                f" ({error}): annotate it with one class, or Any"
            ) from error

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._keyword, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it takes: {', '.join(self._keyword)}"
        return f"{self.name}() has no argument {name!r}; {hint}"


def decode_untyped(data: bytes | memoryview, form: Format = JSON) -> Call:
    """Return args and kwargs as they were stored, in a format. Raises PayloadError."""
    try:
        args, kwargs = form.decode_call(data)
    except DECODE_ERRORS as error:
        raise _not_a_call(form, error) from error
    return tuple(args), kwargs


def _not_a_call(form: Format, error: Exception) -> PayloadError:
    return PayloadError(f"the stored arguments are not {form.title} as mqtasks writes it: {error}")


def _decoder(form: Format, hint: Any) -> Decode:
    """Return a decoder for an annotation; for unions beyond msgspec, one that tries each member."""
    try:
        return form.decoder(hint)
    except TypeError:
        if typing.get_origin(hint) not in {typing.Union, types.UnionType}:
            raise
    members = [form.decoder(member) for member in typing.get_args(hint)]

    def first_that_fits(raw: bytes | memoryview | msgspec.Raw) -> Any:
        reasons = []
        for decode in members:
            try:
                return decode(raw)
            except DECODE_ERRORS as error:
                reasons.append(str(error))
        raise ValueError("; ".join(reasons))

    return first_that_fits


def _resolve_hints(name: str, target: Any) -> dict[str, Any]:
    """Return the annotations of ``target`` as types, without those that cannot be resolved."""
    try:
        return typing.get_type_hints(target)
    except Exception:  # noqa: BLE001, S110 - an annotation is any expression; try them one by one
        pass
    return dict(_resolve_singly(name, target))


def _resolve_singly(name: str, target: Any) -> Iterator[tuple[str, Any]]:
    names = getattr(inspect.unwrap(target), "__globals__", {})
    for parameter, annotation in getattr(target, "__annotations__", {}).items():
        one = types.SimpleNamespace(__annotations__={parameter: annotation})
        try:
            yield from typing.get_type_hints(one, names).items()
        except Exception as error:  # noqa: BLE001 - see above
            _log.info(
                "%s(): annotation %r of %r cannot be resolved (%s), so its value stays plain;"
                " import the name outside TYPE_CHECKING to have it converted",
                name,
                annotation,
                parameter,
                error,
            )
