"""Values as SQL text. Text and bytes become hex literals: nothing in them needs escaping, whatever
the session's sql_mode and character set, and the server compares them byte by byte.
"""  # noqa: D205 - one thought

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# What rows carry beside their values: commas, column names in trees, parentheses.
_ROW_OVERHEAD = 64


def literal(value: Any) -> str:
    """Return a value as an SQL literal. Raises TypeError for a type that has none."""
    kind = type(value)
    if kind is int:
        return str(value)
    if kind is str:
        return f"x'{value.encode().hex()}'"
    if kind is bytes:
        return f"x'{value.hex()}'"
    if value is None:
        return "NULL"
    if isinstance(value, int):  # IntEnum, bool
        return str(int(value))
    if kind is float:
        return repr(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"x'{bytes(value).hex()}'"
    raise TypeError(f"no SQL literal for {kind.__name__}")


def integers(values: Sequence[int]) -> str:
    """Return integers as a list; raises TypeError for anything else."""
    return ("%d," * len(values))[:-1] % tuple(values)


def by_key(column: str, keys: Sequence[int], values: Sequence[Any]) -> str:
    """Return an expression that gives ``values[i]`` where ``column`` is ``keys[i]``.

    Keys ascend. Equal values become one literal; others a binary tree of IFs over runs of equal
    values, so that the server compares a key about log2(runs) times. Measured on 1,000 rows it
    beats a linear CASE, JSON_TABLE and a derived table of UNION ALL.
    """
    first = values[0]
    if values.count(first) == len(values):
        return literal(first)
    starts: list[int] = []
    texts: list[str] = []
    last: Any = values  # equal to no value
    for key, value in zip(keys, values, strict=True):
        if value != last or type(value) is not type(last):
            starts.append(key)
            texts.append(literal(value))
            last = value
    pieces: list[str] = []
    _tree(column, starts, texts, 0, len(texts), pieces)
    return "".join(pieces)


def _tree(
    column: str, starts: list[int], texts: list[str], low: int, high: int, pieces: list[str]
) -> None:
    if high - low == 1:
        pieces.append(texts[low])
        return
    middle = (low + high) // 2
    pieces.append(f"IF({column}<{starts[middle]},")
    _tree(column, starts, texts, low, middle, pieces)
    pieces.append(",")
    _tree(column, starts, texts, middle, high, pieces)
    pieces.append(")")


def weight(row: Sequence[Any]) -> int:
    """Return about how many bytes a row takes in a statement."""
    total = _ROW_OVERHEAD
    for value in row:
        total += 2 * len(value) + 4 if isinstance(value, bytes | str) else 12
    return total
