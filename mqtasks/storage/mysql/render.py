"""Values as SQL text. Text and bytes become hex literals: nothing in them needs escaping, whatever
the session's sql_mode and character set, and the server compares them byte by byte.
"""  # noqa: D205 - one thought

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

# What rows carry beside their values: commas, column names in trees, parentheses.
_ROW_OVERHEAD = 64


def literal(value: Any) -> str:
    """Return a value as an SQL literal. Raises TypeError for a type that has none."""
    render = _LITERALS.get(type(value))
    if render is None:
        raise TypeError(f"no SQL literal for {type(value).__name__}")
    return render(value)


_LITERALS: Final[dict[type, Callable[[Any], str]]] = {
    int: str,
    str: lambda value: f"x'{value.encode().hex()}'",
    bytes: lambda value: f"x'{value.hex()}'",
    type(None): lambda _: "NULL",
    float: repr,
}


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

    def tree(low: int, high: int) -> None:
        if high - low == 1:
            pieces.append(texts[low])
            return
        middle = (low + high) // 2
        pieces.append(f"IF({column}<{starts[middle]},")
        tree(low, middle)
        pieces.append(",")
        tree(middle, high)
        pieces.append(")")

    tree(0, len(texts))
    return "".join(pieces)


def weight(row: Sequence[Any]) -> int:
    """Return about how many bytes a row takes in a statement."""
    total = _ROW_OVERHEAD
    for value in row:
        total += 2 * len(value) + 4 if isinstance(value, bytes | str) else 12
    return total
