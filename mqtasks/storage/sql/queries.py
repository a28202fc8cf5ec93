"""Named SQL: the files in ``storage/queries``, cut into templates.

A file holds one statement after another. Each starts with ``-- name: <name>`` and a line saying
what it is for. In a statement

* ``?`` is a bound parameter, in order;
* ``{now}`` is the database's clock in unix milliseconds;
* ``{task_columns}`` is the column list that the session's `tasks` reads;
* ``{in}`` is a list of values, given to `Session.rows_in` and `Session.run_in`;
* any other ``{name}`` differs by row in `Session.run_each`, or is a list of rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^\s*--.*$", re.MULTILINE)
_TOKEN: Final = re.compile(r"(\?|\{\w+\})")


class Template:
    """One statement, cut at its placeholders. Odd parts are placeholders, even ones plain SQL."""

    __slots__ = ("parts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.parts: tuple[str, ...] = tuple(_TOKEN.split(text))


@lru_cache(maxsize=256)
def template(text: str) -> Template:
    """Return the template of a statement that was put together from fragments."""
    return Template(text)


@cache
def load_queries(dialect: str, task_columns: str) -> Mapping[str, Template]:
    """Return the named statements of ``mysql`` or ``sqlite``."""
    text = files("mqtasks.storage").joinpath("queries", f"{dialect}.sql").read_text("utf-8")
    return {
        name: Template(body.replace("{task_columns}", task_columns))
        for name, _, body in split_queries(text)
    }


def split_queries(text: str) -> list[tuple[str, str, str]]:
    """Return (name, comment, statement) for each statement of a query file."""
    pieces = _NAME.split(text)[1:]
    return [
        (name, "\n".join(_COMMENT.findall(body)), _bare(body))
        for name, body in zip(pieces[::2], pieces[1::2], strict=True)
    ]


def _bare(body: str) -> str:
    return re.sub(r"\s+", " ", _COMMENT.sub("", body)).strip().rstrip(";")
