"""A short-hand for tests on a storage: create, allocate, and look, in one line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mqtasks.clock import ManualClock
from mqtasks.conditions import where
from mqtasks.model import (
    AsyncTask,
    Attempt,
    ExecuteResult,
    Leadership,
    NewTask,
    ResultCode,
    RunnerRecord,
    TaskEpoch,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
)
from mqtasks.storage.contract import Allocation, Completion, RescueReport, TaskStorage

LEASE_MS = 15_000
MAX_CRASHES = 3
FAILURE = ExecuteResult(ResultCode.FAILED, "boom", b"")
NOBODY = RescueReport()


def new(
    metadata_id: str,
    executor: int | str = "work",
    *,
    context: bytes = b"",
    parent: str = "",
    run_at: int = 0,
    **options: Any,
) -> NewTask:
    """Return a task to create; further keywords are options."""
    metadata = TaskMetadata(metadata_id, executor, context, TaskOptions(**options))
    return NewTask(metadata, parent, run_at)


def row(metadata_id: str, executor: int | str = "work", **fields: Any) -> AsyncTask:
    """Return a whole row to add; keywords are fields of the row."""
    options = fields.pop("options", TaskOptions())
    context = fields.pop("context", b"")
    return AsyncTask(metadata=TaskMetadata(metadata_id, executor, context, options), **fields)


class Stage:
    """A storage, its clock, and what nearly every test does with them first."""

    def __init__(self, storage: TaskStorage, clock: ManualClock) -> None:
        self.storage = storage
        self.clock = clock
        self._leadership: Leadership | None = None

    @property
    def now(self) -> int:
        """Return the time that the storage writes now."""
        return self.clock.now_ms()

    @property
    def leadership(self) -> Leadership:
        """Return a leadership that holds for the whole test."""
        if self._leadership is None:
            self._leadership = self.storage.acquire_lease("leader", "stage", 10**9)
            assert self._leadership is not None
        return self._leadership

    def create(self, *metadata_ids: str, executor: int | str = "work", **options: Any) -> list[int]:
        """Create tasks with these metadata ids; return their task ids."""
        tasks = [new(metadata_id, executor, **options) for metadata_id in metadata_ids]
        return [item.task_id for item in self.storage.create_tasks(tasks)]

    def add(self, *rows: AsyncTask) -> list[int]:
        """Add whole rows; return their task ids."""
        assert self.storage.add(*rows) == len(rows)
        found = self.storage.find([item.metadata.id for item in rows])
        return [found[item.metadata.id].id for item in rows]

    def register(self, runner_id: str = "r1", holder: str = "its holder", **fields: Any) -> int:
        """Register a runner; return its generation."""
        record = RunnerRecord(id=runner_id, holder=holder, **fields)
        return self.storage.register_runner(record, LEASE_MS, MAX_CRASHES)

    def generation(self, runner_id: str = "r1") -> int:
        """Return the stored generation of a runner."""
        return next(item.generation for item in self.storage.runners() if item.id == runner_id)

    def allocate(self, task_ids: Iterable[int], runner_id: str = "r1") -> list[TaskEpoch]:
        """Allocate as the leader to a registered runner; return what the worker gets."""
        tasks = self.storage.load(list(task_ids))
        generation = self.generation(runner_id)
        given = self.storage.allocate_many(
            [Allocation(item.id, item.epoch, runner_id, generation) for item in tasks],
            self.leadership,
        )
        assert given == {item.id for item in tasks}
        return [TaskEpoch(item.id, item.epoch + 1) for item in tasks]

    def running(self, *metadata_ids: str, runner_id: str = "r1", **options: Any) -> list[TaskEpoch]:
        """Create tasks and allocate them to a runner, registered if it is not."""
        if runner_id not in {item.id for item in self.storage.runners()}:
            self.register(runner_id)
        return self.allocate(self.create(*metadata_ids, **options), runner_id)

    def complete(
        self, tasks: Sequence[TaskEpoch], result: ExecuteResult | None = None, **said: Any
    ) -> Any:
        """Complete allocations of runner r1; return the report."""
        done = result or ExecuteResult()
        return self.storage.complete_many(
            "r1", [Completion(item.task_id, item.epoch, done, **said) for item in tasks]
        )

    def task(self, task_id: int) -> AsyncTask:
        """Return one stored task."""
        (found,) = self.storage.load([task_id])
        return found

    def status(self, task_id: int) -> TaskStatus:
        """Return the status of one stored task."""
        return self.task(task_id).status

    def attempt(self, task_id: int) -> Attempt:
        """Return the only attempt of a task."""
        (found,) = self.storage.attempts(task_id)
        return found

    def everything(self) -> tuple[list[AsyncTask], list[list[Attempt]]]:
        """Return all task rows with their histories."""
        tasks = self.storage.query(where.everything())
        return tasks, [self.storage.attempts(item.id) for item in tasks]
