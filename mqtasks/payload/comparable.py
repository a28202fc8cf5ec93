"""Bytes by which two calls can be compared: equal calls, equal bytes, however they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from mqtasks.errors import PayloadError
from mqtasks.payload.convert import ENCODE_ERRORS, to_value_hook
from mqtasks.payload.signature import CallSignature

_encode: Final = msgspec.msgpack.Encoder().encode


def comparable_call(
    args: Sequence[Any], kwargs: Mapping[str, Any], signature: CallSignature | None = None
) -> bytes:
    """Return the same bytes for the same arguments.

    With a ``signature`` it makes no difference whether an argument is given by position or by name,
    or is left out and has that value as its default; without one, only equal forms are equal. The
    order of keys and of set members never matters. Values are compared as they would be stored: 1
    and 1.0 differ. Raises PayloadError for what has no stored form but pickle's, and for arguments
    that do not fit.
    """
    if signature is None:
        given: Any = [list(args), dict(kwargs)]
    else:
        signature.check(args, kwargs)
        given = signature.by_name(args, kwargs)
    try:
        plain = msgspec.to_builtins(
            given,
            builtin_types=(bytes,),
            str_keys=True,
            order="deterministic",
            enc_hook=to_value_hook,
        )
        return _encode(plain)
    except ENCODE_ERRORS as error:
        raise PayloadError(
            f"the arguments cannot be compared with those of other calls ({error}): say by"
            " unique_key which calls are the same"
        ) from error
