"""The formats of stored values: JSON by default, MessagePack where a task asks for it.

Both go through msgspec with the same hooks, so that what one can express the other can too.
MessagePack is smaller for numbers, carries bytes as they are, and knows nan and infinity; JSON can
be read with any tool, and by people.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import msgspec

from mqtasks.errors import InvalidArgument
from mqtasks.payload.convert import from_value_hook, to_value_hook

FormatName: TypeAlias = Literal["json", "msgpack"]
Decode: TypeAlias = Callable[[bytes | memoryview | msgspec.Raw], Any]


class Format:
    """One way to write values. Immutable; safe in many threads."""

    def __init__(self, name: FormatName, mark: bytes, module: Any) -> None:
        """Use ``module``, one of msgspec's; ``mark`` is the format byte in front of a payload."""
        self.name: Final = name
        self.title: Final = "JSON" if name == "json" else "MessagePack"
        """As messages call it."""
        self.mark: Final = mark
        self.keeps_bytes: Final = name == "msgpack"
        """Whether bytes and numbers that are not finite come back as they were."""
        self._module = module
        self.encode: Final[Callable[[Any], bytes]] = module.Encoder(enc_hook=to_value_hook).encode
        self.decode: Final[Decode] = module.Decoder().decode
        """To plain values: dicts, lists, text, numbers."""
        self.decode_call: Final[Decode] = module.Decoder(tuple[list[Any], dict[str, Any]]).decode
        self.decode_raw_call: Final[Decode] = module.Decoder(
            tuple[list[msgspec.Raw], dict[str, msgspec.Raw]]
        ).decode

    def decoder(self, wanted: Any) -> Decode:
        """Return what decodes to ``wanted``. Raises TypeError for what msgspec cannot build."""
        decode: Decode = self._module.Decoder(wanted, dec_hook=from_value_hook).decode
        return decode

    def cached_decoder(self, wanted: Any) -> Decode:
        """As `decoder`, made once per type."""
        try:
            return _cached_decoder(self, wanted)
        except TypeError as error:
            if "unhashable" not in str(error):  # Annotated with a dict, say
                raise
        return self.decoder(wanted)


JSON: Final = Format("json", b"j", msgspec.json)
MSGPACK: Final = Format("msgpack", b"m", msgspec.msgpack)
FORMATS: Final = {JSON.mark: JSON, MSGPACK.mark: MSGPACK}


def format_named(name: str) -> Format:
    """Return the format ``json`` or ``msgpack``; raises InvalidArgument for another name."""
    for known in FORMATS.values():
        if known.name == name:
            return known
    raise InvalidArgument("format", name, "must be 'json' or 'msgpack'")


@functools.lru_cache(maxsize=256)
def _cached_decoder(form: Format, wanted: Any) -> Decode:
    return form.decoder(wanted)
