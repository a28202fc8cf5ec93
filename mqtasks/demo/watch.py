"""Showing how far the demo is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from mqtasks.demo.tasks import Note

if TYPE_CHECKING:
    from rich.progress import Progress


class Display(Protocol):
    """Where progress is shown."""

    def begin(self, title: str, total: int) -> None:
        """Start a phase of ``total`` steps."""
        ...

    def at(self, done: int) -> None:
        """Say how many steps of the phase are done."""
        ...

    def say(self, line: str) -> None:
        """Show a line that stays."""
        ...


class Lines:
    """Plain lines on stdout: what is said, and the beginning of each phase."""

    def begin(self, title: str, total: int) -> None:
        """Print the title."""
        self.say(f"{title} ({total:,})")

    def at(self, done: int) -> None:
        """Print nothing: the cron task's own lines say it once a second."""

    def say(self, line: str) -> None:
        """Print the line at once, also into a pipe."""
        print(line, flush=True)  # noqa: T201 - the command's output


class Bar:
    """A bar of rich for each phase, with lines above it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phase: Any = None

    def begin(self, title: str, total: int) -> None:
        """Start a bar of its own; the one before counts as full."""
        self._phase = self._progress.add_task(title, total=total)

    def at(self, done: int) -> None:
        """Move the bar."""
        self._progress.update(self._phase, completed=done)

    def say(self, line: str) -> None:
        """Print the line above the bars."""
        self._progress.console.print(line, markup=False, highlight=False)


@contextmanager
def display() -> Iterator[Display]:
    """Yield what suits stdout."""
    if not sys.stdout.isatty():
        yield Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        yield Bar(progress)


class ProgressFile:
    """Reads what the cron task has appended since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> list[Note]:
        """Return the notes that are new, whole lines only."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return [msgspec.json.decode(line, type=Note) for line in whole.splitlines()]
