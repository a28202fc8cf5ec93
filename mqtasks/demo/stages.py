"""What the demo runs on: this process and an SQLite file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from mqtasks.config import Settings
from mqtasks.demo.tasks import app
from mqtasks.scheduler import Scheduler
from mqtasks.worker import RunnerOptions, TaskRunner


class Stage(Protocol):
    """A place with a scheduler and a worker, to which `mqtasks.demo.tasks.app` is connected."""

    folder: Path
    """For files of the run; deleted with the stage."""
    title: str

    def half_way(self) -> list[str]:
        """Do what this stage does in the middle of the run; return lines that tell it."""
        ...


class Embedded:
    """Everything in one process."""

    title = "one process: SQLite, scheduler and worker"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def half_way(self) -> list[str]:
        """Do nothing."""
        return []


@contextmanager
def embedded() -> Iterator[Stage]:
    """Run a scheduler and a worker in this process, on a temporary SQLite file."""
    with tempfile.TemporaryDirectory(prefix="mqtasks-demo-") as name:
        app.configure(Settings(url=f"sqlite:///{name}/tasks.db"))
        try:
            with (
                Scheduler(app.service),
                TaskRunner("demo", app.service, RunnerOptions(), app.registry),
            ):
                yield Embedded(Path(name))
        finally:
            app.close()
