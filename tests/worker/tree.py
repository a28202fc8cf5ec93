"""A worker with its runner processes, fed by hand."""

from __future__ import annotations

from pathlib import Path

from mqtasks.model import (
    RunnerRecord,
    RunnerState,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
)
from mqtasks.service import TaskService
from tests.support.site import Site, eventually

APP = "tests.worker.tree_app:app"
QUICK = {"heartbeat_interval": 0.3, "heartbeat_timeout": 1.5, "parallelism": 2}
PATIENT = {"heartbeat_interval": 0.3, "heartbeat_timeout": 60.0, "parallelism": 2}
"""So long a lease that nothing moves because of it."""
RETRIED = TaskOptions(max_retry_times=5)


class Tree:
    """One ``mqtasks worker`` on an SQLite file, fed by hand: no scheduler helps."""

    def __init__(self, site: Site, service: TaskService, *arguments: str, **settings) -> None:
        self.service = service
        self.storage = service.storage
        self.process = site.start("worker", APP, "--runner-id", "w", *arguments, **settings)

    def runner(self, generation: int = 1, runner_id: str = "w") -> RunnerRecord:
        """Return the runner row once it is active in that generation, or a later one."""

        def probe() -> RunnerRecord | None:
            for row in self.storage.runners():
                if row.id == runner_id and row.generation >= generation:
                    return row if row.state is RunnerState.ACTIVE else None
            return None

        row = eventually(probe, 20, f"runner {runner_id} in generation {generation}")
        assert row is not None
        return row

    def give(self, code: str, count: int = 1, runner_id: str = "w") -> list[int]:
        start = len(self.storage.query())
        ids = self.service.create_batch(
            [TaskMetadata(f"{code}-{start + n}", code) for n in range(count)]
        )
        for task in self.storage.load(ids):
            self.service.allocate(task, runner_id)
        return ids

    def marked(self, *ids: int) -> None:
        """Wait until storage knows that these have run for an interval."""
        eventually(lambda: all(task.started_at for task in self.storage.load(ids)), 20, "tasks run")

    def status(self, task_id: int) -> TaskStatus:
        return self.storage.load([task_id])[0].status

    def ended(self, task_id: int, timeout: float = 20) -> None:
        eventually(lambda: self.status(task_id).is_final, timeout, f"task {task_id} ends")

    def created(self, *ids: int, timeout: float = 20) -> None:
        eventually(
            lambda: all(t.status is TaskStatus.CREATED for t in self.storage.load(ids)),
            timeout,
            "tasks are back",
        )


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"
