"""Conditions to SQL with bound parameters; `mqtasks.conditions` holds the same as a predicate."""

from __future__ import annotations

from typing import Final, TypeAlias

from mqtasks.conditions import Compare, Op, Selection, Value
from mqtasks.storage.checks import MAX_NUMBER

Sql: TypeAlias = tuple[str, list[Value]]
"""Text with ``?``, and what is bound to them in order."""

_TRUE: Final = "1 = 1"
_FALSE: Final = "1 = 0"
_HOLDS_FOR_HUGE: Final = frozenset({Op.NE, Op.LT, Op.LE})


def where(selection: Selection) -> Sql:
    """Return the comparisons of a selection, ANDed. Column names are the names of FIELDS."""
    texts: list[str] = []
    params: list[Value] = []
    for item in selection.comparisons:
        text, bound = _comparison(item)
        texts.append(text)
        params.extend(bound)
    return " AND ".join(texts) or _TRUE, params


def where_ordered(selection: Selection) -> Sql:
    """Return what stands behind FROM: the comparisons, the order and the limit."""
    text, params = where(selection)
    text = f"WHERE {text} ORDER BY task_id{' DESC' if selection.descending else ''}"
    if selection.limit is not None:
        text += " LIMIT ?"
        params.append(min(selection.limit, MAX_NUMBER))
    return text, params


def _comparison(item: Compare) -> Sql:
    value = item.value
    if isinstance(value, tuple):
        usable = [one for one in value if not _is_huge(one)]
        if not usable:
            return _FALSE, []
        return f"{item.field} IN ({', '.join('?' * len(usable))})", usable
    if _is_huge(value):
        return (_TRUE if item.op in _HOLDS_FOR_HUGE else _FALSE), []
    return f"{item.field} {item.op.value} ?", [value]


def _is_huge(value: Value) -> bool:
    """Whether an int is larger than any stored one (and than SQLite can bind)."""
    return isinstance(value, int) and value > MAX_NUMBER
