"""What read commands print: a table for people, JSON for programs; always on stdout.

One row is a dict of plain values; its names are the JSON names, and they are stable. A table shows
some of the columns, with times spelled out. Rich draws it on a terminal; elsewhere it is plain
aligned text, so that ``| grep`` and ``| awk`` work and rich is never loaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from mqtasks.cli.options import option

Row = Mapping[str, Any]
F = TypeVar("F", bound=Callable[..., Any])

FORMATS: Final = ("table", "json", "jsonl")
_TIMES: Final = ("_at", "_time")


def output_option(command: F) -> F:
    """Add ``-o table|json|jsonl``, passed as ``output``."""
    return option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="table for people; json: one document; jsonl: one object per line.",
    )(command)


def print_rows(rows: Sequence[Row], columns: Sequence[str], output: str, nothing: str) -> None:
    """Print many rows. ``nothing`` goes to stderr in place of an empty table."""
    if output == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif output == "jsonl":
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
    elif not rows:
        click.echo(nothing, err=True)
    else:
        _table(columns, [[cell(name, row.get(name)) for name in columns] for row in rows])


def print_record(row: Row, output: str) -> None:
    """Print one row: all of it."""
    if output == "json":
        click.echo(json.dumps(row, indent=2, ensure_ascii=False))
    elif output == "jsonl":
        click.echo(json.dumps(row, ensure_ascii=False))
    else:
        width = max(len(name) for name in row)
        for name, value in row.items():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                click.echo(f"{name}:")
                for item in value:
                    _item(item)
            else:
                click.echo(f"{name:<{width}}  {cell(name, value)}".rstrip())


def _item(item: Row) -> None:
    """Print one of several rows within a record: short values in a line, texts of many below it."""
    long = {name: value for name, value in item.items() if isinstance(value, str) and "\n" in value}
    parts = (f"{name}={cell(name, value)}" for name, value in item.items() if name not in long)
    click.echo(f"  {'  '.join(parts)}")
    for name, text in long.items():
        click.echo(f"    {name}:")
        for line in text.splitlines():
            click.echo(f"      {line}".rstrip())


def print_written(rows: Sequence[Row], output: str, sentence: Callable[[Row], str]) -> None:
    """Print what a command wrote: one sentence per row for people, the rows as JSON."""
    if output == "table":
        for row in rows:
            click.echo(sentence(row))
    else:
        print_rows(rows, (), output, "")


def cell(name: str, value: Any) -> str:
    """Return a value as people read it. A time is a unix ms number under a ``…_at`` name."""
    if value is None or value == "":
        return "-"
    if isinstance(value, int) and name.endswith(_TIMES):
        return time_text(value) if value else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value) or "-"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={item}" for key, item in value.items()) or "-"
    # One row is one line, also when an error text has several.
    return str(value).replace("\r", "").replace("\n", "\\n").replace("\t", " ")


def time_text(unix_ms: int) -> str:
    """Return a time in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return moment.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")


def _table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    heads = [name.replace("_", " ").upper() for name in columns]
    if sys.stdout.isatty():
        _rich_table(heads, cells)
        return
    widths = [
        max(len(head), *(len(row[index]) for row in cells)) for index, head in enumerate(heads)
    ]
    for line in (heads, *cells):
        parts = (f"{text:<{width}}" for text, width in zip(line, widths, strict=True))
        click.echo("  ".join(parts).rstrip())


def _rich_table(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold cyan")
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in cells:
        # Text, not str: an id such as "[red]" is data, not markup.
        table.add_row(*(Text(part) for part in row))
    Console().print(table)  # Console honours NO_COLOR and the width of the terminal
