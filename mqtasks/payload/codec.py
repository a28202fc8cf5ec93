"""Payloads: one byte that names the format, then the data.

=====  ===========================================================================
none   an empty payload: no arguments, or the result None
``j``  JSON: ``[[positional...], {named...}]`` for a call, the value for a result
``r``  one bytes object as it is: the only argument, or the result
``p``  pickle; written and read only where ``allow_pickle`` is set
=====  ===========================================================================
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mqtasks.errors import PayloadError, PayloadTooLarge
from mqtasks.payload.convert import (
    DECODE_ERRORS,
    ENCODE_ERRORS,
    decoder,
    encode,
    find_not_finite,
    find_unencodable,
)
from mqtasks.payload.signature import Call, CallSignature, Decode, decode_untyped

DEFAULT_MAX_BYTES: Final = 1024 * 1024
_NOTHING: Final = b""
_NO_KWARGS: Final[Mapping[str, Any]] = {}


class PayloadCodec:
    """Turns arguments and results into bytes and back. Immutable; safe in many threads.

    Args:
        max_bytes: Largest payload it writes, format byte included; 1 MiB by default.
        allow_pickle: Pickle what JSON cannot express, and read such payloads. Whoever can write to
            the database can then run code in every worker.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES, *, allow_pickle: bool = False) -> None:
        self.max_bytes = max_bytes
        self.allow_pickle = allow_pickle

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
            return self._sized("the payload of the call", b"r" + args[0])
        if signature is not None:
            signature.check_bytes(args, kwargs)
        data = self._to_bytes([args, kwargs], lambda: _named(args, kwargs, signature))
        if signature is not None and signature.converts and data.startswith(b"j"):
            signature.decode(memoryview(data)[1:])  # better refused here than in a worker
        return self._sized("the payload of the call", data)

    def decode_call(self, data: bytes, signature: CallSignature | None = None) -> Call:
        """Return positional and named arguments; with a ``signature``, as its annotations say.

        Raises PayloadError for what `encode_call` did not write, or does not fit.
        """
        if not data:
            return (), {}
        body = memoryview(data)[1:]
        match data[:1]:
            case b"j":
                return decode_untyped(body) if signature is None else signature.decode(body)
            case b"r":
                return (bytes(body),), {}
            case b"p":
                args, kwargs = self._unpickle(body)
                return tuple(args), kwargs
        raise _unknown_format(data)

    def encode_result(self, value: Any) -> bytes:
        """Return the payload of a result; empty for None.

        Raises PayloadError naming the part that has no JSON form, PayloadTooLarge over
        ``max_bytes``.
        """
        if value is None:
            return _NOTHING
        if type(value) is bytes:
            return self._sized("the result", b"r" + value)
        return self._sized("the result", self._to_bytes(value, lambda: [("result", value)]))

    def decode_result(self, data: bytes, type: Any = Any) -> Any:  # noqa: A002 - msgspec's name
        """Return the value of a result as ``type``, an annotation; Any leaves the JSON as it is.

        Raises PayloadError if the value does not fit, or `encode_result` did not write it.
        """
        if not data:
            return None
        body = memoryview(data)[1:]
        match data[:1]:
            case b"j":
                try:
                    return _result_decoder(type)(body)
                except DECODE_ERRORS as error:
                    raise PayloadError(
                        f"the result is not of type {inspect.formatannotation(type)}: {error}"
                    ) from error
            case b"r":
                return bytes(body)
            case b"p":
                return self._unpickle(body)
        raise _unknown_format(data)

    def _to_bytes(self, value: Any, named: Callable[[], Sequence[tuple[str, Any]]]) -> bytes:
        """Return ``value`` as JSON, else pickled if that is allowed."""
        try:
            data = b"j" + encode(value)
        except ENCODE_ERRORS as error:
            if self.allow_pickle:
                return self._pickle(value)
            for path, part in named():
                if found := find_unencodable(part, path):
                    raise _no_json_form(*found) from error
            raise PayloadError(f"the payload cannot be stored as JSON: {error}") from error
        # msgspec writes nan and infinity as null. A search is worth while only where one is seen.
        if b"null" in data:
            for path, part in named():
                if lost := find_not_finite(part, path):
                    if self.allow_pickle:
                        return self._pickle(value)
                    raise PayloadError(
                        f"{lost[0]} is {lost[1]}, which JSON cannot express: pass None or text,"
                        " or set allow_pickle=True"
                    )
        return data

    def _sized(self, what: str, data: bytes) -> bytes:
        if len(data) > self.max_bytes:
            raise PayloadTooLarge(what, len(data), self.max_bytes)
        return data

    def _pickle(self, value: Any) -> bytes:
        import pickle

        try:
            return b"p" + pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            raise PayloadError(f"neither JSON nor pickle can express it: {error}") from error

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


def _no_json_form(path: str, value: Any, reason: str) -> PayloadError:
    return PayloadError(
        f"{path}, of type {type(value).__qualname__}, cannot be stored as JSON ({reason}): pass a"
        " str, int, float, bool, None, list, dict, datetime, UUID, Decimal, enum or dataclass, or"
        " set allow_pickle=True"
    )


def _unknown_format(data: bytes) -> PayloadError:
    return PayloadError(
        f"the payload starts with {data[:1]!r}, which names no known format: it was written by a"
        " newer mqtasks, or by another program; read such a task with a raw executor"
    )


def _result_decoder(wanted: Any) -> Decode:
    try:
        return _cached_decoder(wanted)
    except TypeError:  # not hashable: Annotated with a dict, say
        return _cached_decoder.__wrapped__(wanted)


@functools.lru_cache(maxsize=256)
def _cached_decoder(wanted: Any) -> Decode:
    try:
        return decoder(wanted).decode
    except TypeError as error:
        raise PayloadError(
            f"no result can be converted to {inspect.formatannotation(wanted)}: {error}"
        ) from error
