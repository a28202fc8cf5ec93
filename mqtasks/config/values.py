"""What a setting may look like: parsers from TOML values and from text.

Each takes a value of any type and returns the setting's value, or raises ValueError with the
remedy: what it must be, in words that end the sentence "name=value: ...".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Parse: TypeAlias = Callable[[Any], Any]

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+\Z")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_BYTES: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\Z")


def text(value: Any) -> str:
    """Parse text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text and not empty")
    return value.strip()


def optional_text(value: Any) -> str | None:
    """Parse text; None, and the word ``none``, mean that there is none."""
    if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
        return None
    return text(value)


def name(value: Any) -> str:
    """Parse 1 to 64 letters, digits, dots, dashes and underscores."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value):
        raise ValueError("must be 1 to 64 letters, digits, dots, dashes and underscores")
    return value


def choice(*words: str) -> Parse:
    """Return a parser of one of ``words``, in any case."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or value.lower() not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value.lower()

    return parse


def whole(lowest: int) -> Parse:
    """Return a parser of a whole number, at least ``lowest``."""

    def parse(value: Any) -> int:
        try:
            number = int(value) if isinstance(value, str) else value
        except ValueError:
            number = None
        if not isinstance(number, int) or isinstance(number, bool) or number < lowest:
            raise ValueError(f"must be a whole number, at least {lowest}")
        return number

    return parse


def seconds(*, zero: bool = False) -> Parse:
    """Return a parser of a duration: a number of seconds, or text such as ``90s`` or ``1h30m``."""

    def parse(value: Any) -> float:
        got = math.nan
        if isinstance(value, str):
            if _DURATION.match(value.strip()):
                found = _DURATION_PART.findall(value)
                got = sum(float(number) * _SECONDS[unit] for number, unit in found)
            else:
                got = _float(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            got = float(value)
        if not math.isfinite(got) or got < 0 or (got == 0 and not zero):
            least = "0 or more" if zero else "more than 0"
            raise ValueError(f"must be {least} seconds: a number, or text such as 500ms, 90s or 7d")
        return got

    return parse


def number(value: Any) -> float:
    """Parse a number that is not negative."""
    got = value if isinstance(value, int | float) and not isinstance(value, bool) else _float(value)
    if not math.isfinite(got) or got < 0:
        raise ValueError("must be a number, 0 or more")
    return float(got)


def size(lowest: int) -> Parse:
    """Return a parser of a number of bytes, or text such as ``512MiB`` (K, M, G, T are binary)."""

    def parse(value: Any) -> int:
        got: Any = value
        if isinstance(value, str):
            found = _SIZE.match(value.strip().lower())
            got = int(float(found[1]) * _BYTES[found[2]]) if found else None
        if not isinstance(got, int) or isinstance(got, bool) or got < lowest:
            raise ValueError(f"must be bytes, at least {lowest}: a number, or text such as 512MiB")
        return got

    return parse


def labels(value: Any) -> Mapping[str, str]:
    """Parse a table of text to text; as text: ``key=value,other=value``, or a JSON object."""
    remedy = "must map text to text: a table, or text such as zone=a,gpu=yes"
    if isinstance(value, str):
        value = _labels_from_text(value.strip(), remedy)
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) and key and isinstance(word, str) for key, word in value.items()
    ):
        raise ValueError(remedy)
    return dict(value)


def amounts(value: Any) -> Mapping[str, float]:
    """Parse a table of names to numbers > 0; as text: ``gpu=2,licence=1``, or a JSON object."""
    remedy = "must map names to numbers above 0: a table, or text such as gpu=2,licence=1"
    if isinstance(value, str):
        value = _labels_from_text(value.strip(), remedy)
    found = {
        name: math.nan if isinstance(amount, bool) else _float(amount)
        for name, amount in (value.items() if isinstance(value, Mapping) else [("", 0)])
    }
    if not all(
        isinstance(name, str) and name and 0 < got < math.inf for name, got in found.items()
    ):
        raise ValueError(remedy)
    return found


def _labels_from_text(words: str, remedy: str) -> Any:
    if words.startswith("{"):
        try:
            return json.loads(words)
        except ValueError:
            raise ValueError(remedy) from None
    pairs = [pair.partition("=") for pair in words.split(",") if pair.strip()]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError(remedy)
    return {key.strip(): word.strip() for key, _, word in pairs}


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
