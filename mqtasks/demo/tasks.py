"""The tasks of the demo, as any application would write them.

``mqtasks worker mqtasks.demo.tasks:app`` runs them. Beside doing their work they note each
execution in a file of their own (see `mqtasks.demo.tally`), which ordinary tasks need not do.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from mqtasks.app import MQTasks
from mqtasks.conditions import where
from mqtasks.demo import figures, tally
from mqtasks.demo.figures import Figures
from mqtasks.model import AsyncTask, TaskStatus
from mqtasks.worker.context import current_context

MEASURE: Final = "demo.measure"
ADD_UP: Final = "demo.add_up"
REPORT: Final = "demo.report"
_MOST_COUNTED: Final = 1_000_000

app = MQTasks()

# Old sources warn about their string escapes when they are parsed; that is not ours to say.
warnings.filterwarnings("ignore", module=figures.PARSED_AS)


class Note(msgspec.Struct, frozen=True):
    """What the cron task saw: one line of the progress file."""

    counts: dict[str, int]
    """Tasks in storage by status."""


@contextmanager
def _noted(tally_file: str) -> Iterator[None]:
    context = current_context()
    tally.note(tally_file, context.task_id, context.epoch, tally.Event.STARTED)
    yield
    tally.note(tally_file, context.task_id, context.epoch, tally.Event.FINISHED)


@app.task(name=MEASURE, max_retry_times=2)
def measure(path: str, tally_file: str) -> Figures:
    """Return the figures of one source file."""
    with _noted(tally_file):
        return figures.measure(Path(path))


@app.task(name=ADD_UP, max_retry_times=2)
def add_up(parent: str) -> Figures:
    """Add up the results of all tasks that have this parent."""
    children = app.service.query_task(where.parent_task_id == parent)
    return figures.add_up(result_of(child) for child in children)


@app.task(name=REPORT, priority=10)  # ahead of the files that wait
def report(progress_file: str, tally_file: str) -> None:
    """Append how many tasks are in which status; a cron task runs this every second."""
    with _noted(tally_file):
        counts = app.service.storage.count_by_status(_MOST_COUNTED)
        note = Note({TaskStatus(item).name: count for item, count in counts.items() if count})
        with Path(progress_file).open("ab") as file:
            file.write(msgspec.json.encode(note) + b"\n")


def result_of(task: AsyncTask) -> Figures:
    """Return what a measuring task returned. Raises MQTasksError if it did not succeed."""
    definition = app.registry.require(MEASURE)
    value = b"" if task.execute_result is None else task.execute_result.value
    result: Figures = definition.codec.decode_result(value, Figures)
    return result
