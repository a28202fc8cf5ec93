"""A runner whose loops are steps, over memory storage and a clock that tests move."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from mqtasks.clock import ManualClock
from mqtasks.model import (
    AsyncTask,
    RunnerRecord,
    RunnerState,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
)
from mqtasks.service import TaskService
from mqtasks.storage.contract import Allocation, TaskStorage
from mqtasks.storage.memory import MemoryTaskStorage
from mqtasks.worker.board import Board
from mqtasks.worker.executors import Executors
from mqtasks.worker.held import Held, Phase
from mqtasks.worker.keeper import LeaseKeeper
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.parts import Parts
from mqtasks.worker.ward import Ward


class Hand:
    """Starts nothing by itself: the test runs what was submitted, when it likes."""

    def __init__(self) -> None:
        self.submitted: deque[Held] = deque()

    def submit(self, held: Held) -> None:
        self.submitted.append(held)


class Rig:
    """One registered runner ``r`` with an executor ``work`` and all its steps.

    Plain tasks wait in ``hand`` until `run_next`; async ones are not run. ``calls`` lists the task
    ids whose executor was called; ``act`` is what the executor does.
    """

    def __init__(
        self,
        storage: TaskStorage | None = None,
        clock: ManualClock | None = None,
        runner_id: str = "r",
        register: bool = True,
        **options: Any,
    ) -> None:
        self.clock = clock or ManualClock()
        # Tests replace methods of both.
        self.storage: Any = storage or MemoryTaskStorage(self.clock)
        self.service = TaskService(self.storage, clock=self.clock)
        self.calls: list[int] = []
        self.act: Callable[[Any, AsyncTask], Any] = lambda _ctx, _task: None
        executors = Executors()
        executors.register("work", self._work)
        options = {"parallelism": 2, "heartbeat_interval": 3.0, "heartbeat_timeout": 15.0} | options
        self.options = RunnerOptions(**options)
        record = RunnerRecord(
            id=runner_id,
            executors=executors.close(),
            parallelism=self.options.parallelism,
            max_wait_tasks=self.options.max_wait_tasks,
        )
        self.board = Board.private(self.options.parallelism)
        self.parts: Any = Parts(
            record,
            self.service,
            self.options,
            executors.by_code,
            self.board,
            rng=random.Random(1),
        )
        self.hand = Hand()
        parts = self.parts
        parts.dispatcher.connect(self.hand, self.hand, parts.marker, parts.watchdog.watch)
        self.ward = Ward(record, self.board)
        self.keeper = LeaseKeeper(self.storage, self.options, self.clock, self.options.log)
        self.keeper.add(self.ward)
        if register:
            parts.identity.register(threading.Event().wait)
            parts.admission.open = True

    def _work(self, ctx: Any, task: AsyncTask) -> Any:
        self.calls.append(task.id)
        return self.act(ctx, task)

    # -- what others do ------------------------------------------------------------------------

    def create(self, count: int = 1, executor: str = "work", **options: Any) -> list[int]:
        made = TaskOptions(**options) if options else TaskOptions()
        start = len(self.storage.query())
        return self.service.create_batch(
            [TaskMetadata(f"t{start + n}", executor, b"", made) for n in range(count)]
        )

    def allocate(self, *task_ids: int) -> list[AsyncTask]:
        """Allocate by hand to this runner; return the rows as stored."""
        identity = self.parts.identity
        rows = self.storage.load(task_ids)
        given = self.storage.allocate_many(
            [Allocation(t.id, t.epoch, identity.runner_id, identity.generation) for t in rows]
        )
        assert given == frozenset(task_ids)
        allocated: list[AsyncTask] = self.storage.load(task_ids)
        return allocated

    def give(self, count: int = 1, executor: str = "work", **options: Any) -> list[int]:
        """Create tasks, allocate them, and let the runner fetch them."""
        ids = self.create(count, executor, **options)
        self.allocate(*ids)
        self.fetch()
        return ids

    # -- steps ---------------------------------------------------------------------------------

    def fetch(self) -> float:
        wait: float = self.parts.fetch_once()
        return wait

    def commit(self) -> None:
        self.parts.completer.run_once()

    def run_next(self) -> int:
        """Run the next submitted task to its end, and what its thread takes along; count them."""
        held: Held | None = self.hand.submitted.popleft()
        count = 0
        while held is not None:
            self.parts.execution.run(held)
            count += 1
            held = self.parts.dispatcher.follow(held)
        return count

    def begin(self) -> Held:
        """Put the next submitted task into its executor without ending it."""
        held = self.hand.submitted.popleft()
        self.parts.execution._begin(held)
        return held

    def end(self, held: Held, outcome: Any) -> None:
        """End a task that `begin` has begun."""
        self.board.vacate(held.slot)
        self.parts.execution._end(held, outcome)
        self.parts.dispatcher.ended(held)

    # -- what is there ---------------------------------------------------------------------------

    def task(self, task_id: int) -> AsyncTask:
        found: AsyncTask = self.storage.load([task_id])[0]
        return found

    def statuses(self, *task_ids: int) -> list[TaskStatus]:
        return [task.status for task in self.storage.load(task_ids)]

    def outcomes(self, task_id: int) -> list[int]:
        return [attempt.outcome for attempt in self.storage.attempts(task_id)]

    def waiting(self) -> list[int]:
        return [h.task_id for h in self.parts.holdings.all() if h.phase is Phase.WAITING]

    def state(self) -> RunnerState:
        runner_id = self.parts.identity.runner_id
        states: list[RunnerState] = [r.state for r in self.storage.runners() if r.id == runner_id]
        return states[0]

    def lapse(self) -> None:
        """Let the lease lapse, and let the scheduler fence the runner."""
        self.clock.advance(self.options.heartbeat_timeout + 1)
        leadership = self.storage.acquire_lease("leader", "s", 60_000)
        assert leadership is not None
        identity = self.parts.identity
        report = self.storage.fence_lapsed(
            leadership, identity.runner_id, identity.generation, self.options.max_crashes
        )
        assert report is not None
