"""Payloads: one byte that names the format, then the data.

=====  ===========================================================================
none   an empty payload: no arguments, or the result None
``j``  JSON: ``[[positional...], {named...}]`` for a call, the value for a result
``m``  MessagePack, of the same shape
``r``  one bytes object as it is: the only argument, or the result
``p``  pickle; written and read only where ``allow_pickle`` is set
``x``  a transform (encryption, say): the length of its name, its name, its bytes
=====  ===========================================================================

The byte is the version of the envelope too: another shape would get another letter. A reader takes
every format it knows, whichever its own task writes, so a task may change its format while tasks
of the old one are waiting.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mqtasks.errors import PayloadError, PayloadTooLarge
from mqtasks.payload.convert import (
    DECODE_ERRORS,
    ENCODE_ERRORS,
    find_not_finite,
    find_unencodable,
)
from mqtasks.payload.formats import FORMATS, Decode, Format, FormatName, format_named
from mqtasks.payload.signature import Call, CallSignature, decode_untyped
from mqtasks.payload.transform import PLAIN, Envelope

DEFAULT_MAX_BYTES: Final = 1024 * 1024
_NOTHING: Final = b""
_NO_KWARGS: Final[Mapping[str, Any]] = {}


class PayloadCodec:
    """Turns arguments and results into bytes and back. Immutable; safe in many threads.

    Args:
        max_bytes: Largest payload it writes, format byte and transform included; 1 MiB by default.
        allow_pickle: Pickle what the format cannot express, and read such payloads. Whoever can
            write to the database can then run code in every worker.
        format: What it writes: ``"json"`` or ``"msgpack"``. It reads both.
        envelope: Transforms around all that it writes and reads, such as encryption. Empty
            payloads (no arguments, the result None) stay empty.
    """

    def __init__(
        self,
        max_bytes: int = DEFAULT_MAX_BYTES,
        *,
        allow_pickle: bool = False,
        format: FormatName = "json",  # noqa: A002 - the word users know
        envelope: Envelope = PLAIN,
    ) -> None:
        self.max_bytes = max_bytes
        self.allow_pickle = allow_pickle
        self._format = format_named(format)
        self._envelope = envelope

    def encode_call(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = _NO_KWARGS,
        signature: CallSignature | None = None,
    ) -> bytes:
        """Return the payload of a call; empty for a call without arguments.

        With a ``signature`` the arguments must fit it, by name and, once stored, by annotation.
        Raises PayloadError naming the argument, PayloadTooLarge over ``max_bytes``.
        """
        data = self.encode_arguments(args, kwargs, signature)
        return self._sealed("the payload of the call", data)

    def encode_arguments(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        signature: CallSignature | None = None,
    ) -> bytes:
        """As `encode_call`, before any transform and of any size: equal calls, equal bytes."""
        if signature is not None:
            signature.check(args, kwargs)
        if not args and not kwargs:
            return _NOTHING
        if (
            len(args) == 1
            and not kwargs
            and type(args[0]) is bytes
            and (signature is None or signature.takes_raw_bytes(0))
        ):
            return b"r" + args[0]
        form = self._format
        if signature is not None and not form.keeps_bytes:
            signature.check_bytes(args, kwargs)
        data = self._to_bytes([args, kwargs], lambda: _named(args, kwargs, signature))
        if signature is not None and signature.converts and data.startswith(form.mark):
            signature.decode(memoryview(data)[1:], form)  # better refused here than in a worker
        return data

    def decode_call(self, data: bytes, signature: CallSignature | None = None) -> Call:
        """Return positional and named arguments; with a ``signature``, as its annotations say.

        Raises PayloadError for what `encode_call` did not write, or does not fit.
        """
        if not data:
            return (), {}
        data = self._envelope.open(data)
        body = memoryview(data)[1:]
        mark = data[:1]
        form = FORMATS.get(mark)
        if form is not None:
            return decode_untyped(body, form) if signature is None else signature.decode(body, form)
        match mark:
            case b"r":
                return (bytes(body),), {}
            case b"p":
                args, kwargs = self._unpickle(body)
                return tuple(args), kwargs
        raise _unknown_format(data)

    def encode_result(self, value: Any) -> bytes:
        """Return the payload of a result; empty for None.

        Raises PayloadError naming the part that the format cannot express, PayloadTooLarge over
        ``max_bytes``.
        """
        if value is None:
            return _NOTHING
        if type(value) is bytes:
            return self._sealed("the result", b"r" + value)
        return self._sealed("the result", self._to_bytes(value, lambda: [("result", value)]))

    def decode_result(self, data: bytes, type: Any = Any) -> Any:  # noqa: A002 - msgspec's name
        """Return the value of a result as ``type``, an annotation; Any leaves plain values.

        Raises PayloadError if the value does not fit, or `encode_result` did not write it.
        """
        if not data:
            return None
        data = self._envelope.open(data)
        body = memoryview(data)[1:]
        mark = data[:1]
        form = FORMATS.get(mark)
        if form is not None:
            try:
                return _result_decoder(form, type)(body)
            except DECODE_ERRORS as error:
                raise PayloadError(
                    f"the result is not of type {inspect.formatannotation(type)}: {error}"
                ) from error
        match mark:
            case b"r":
                return bytes(body)
            case b"p":
                return self._unpickle(body)
        raise _unknown_format(data)

    def _to_bytes(self, value: Any, named: Callable[[], Sequence[tuple[str, Any]]]) -> bytes:
        """Return ``value`` in the format, else pickled if that is allowed."""
        form = self._format
        try:
            data = form.mark + form.encode(value)
        except ENCODE_ERRORS as error:
            if self.allow_pickle:
                return self._pickle(value)
            for path, part in named():
                if found := find_unencodable(form.encode, part, path):
                    raise _no_form(form, *found) from error
            raise PayloadError(f"the payload cannot be stored as {form.title}: {error}") from error
        # msgspec writes nan and infinity as null. A search is worth while only where one is seen.
        if not form.keeps_bytes and b"null" in data:
            for path, part in named():
                if lost := find_not_finite(part, path):
                    if self.allow_pickle:
                        return self._pickle(value)
                    raise PayloadError(
                        f"{lost[0]} is {lost[1]}, which JSON cannot express: pass None or text,"
                        ' or set format="msgpack" or allow_pickle=True'
                    )
        return data

    def _sealed(self, what: str, data: bytes) -> bytes:
        if data and self._envelope:
            data = self._envelope.seal(data)
        if len(data) > self.max_bytes:
            raise PayloadTooLarge(what, len(data), self.max_bytes)
        return data

    def _pickle(self, value: Any) -> bytes:
        import pickle

        try:
            return b"p" + pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            raise PayloadError(
                f"neither {self._format.title} nor pickle can express it: {error}"
            ) from error

    def _unpickle(self, body: memoryview) -> Any:
        import pickle

        if not self.allow_pickle:
            raise PayloadError(
                "the payload is pickled: set allow_pickle=True, if everybody who can write to the"
                " database may run code here"
            )
        try:
            return pickle.loads(body)  # noqa: S301 - opted in to above
        except Exception as error:
            raise PayloadError(f"the pickled payload is not readable: {error}") from error


def _named(
    args: Sequence[Any], kwargs: Mapping[str, Any], signature: CallSignature | None
) -> list[tuple[str, Any]]:
    """Return the arguments with the names they have in messages."""
    names = [str(at) if signature is None else signature.parameter(at) for at in range(len(args))]
    return [
        *((f"argument {name}", value) for name, value in zip(names, args, strict=True)),
        *((f"argument {name}", value) for name, value in kwargs.items()),
    ]


def _no_form(form: Format, path: str, value: Any, reason: str) -> PayloadError:
    return PayloadError(
        f"{path}, of type {type(value).__qualname__}, cannot be stored as {form.title} ({reason}):"
        " pass a str, int, float, bool, None, list, dict, datetime, UUID, Decimal, enum or"
        " dataclass, or set allow_pickle=True"
    )


def _unknown_format(data: bytes) -> PayloadError:
    return PayloadError(
        f"the payload starts with {data[:1]!r}, which names no known format: it was written by a"
        " newer mqtasks, or by another program; read such a task with a raw executor"
    )


def _result_decoder(form: Format, wanted: Any) -> Decode:
    try:
        return form.cached_decoder(wanted)
    except TypeError as error:
        raise PayloadError(
            f"no result can be converted to {inspect.formatannotation(wanted)}: {error}"
        ) from error
