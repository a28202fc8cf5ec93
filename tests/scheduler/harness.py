"""A small world for schedulers: the memory store, a clock set by hand, runners without threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from mqtasks.clock import ManualClock
from mqtasks.coordination.base import RunnerBeat
from mqtasks.coordination.local import LocalHeartbeats
from mqtasks.model import (
    AsyncTask,
    ExecuteResult,
    NewTask,
    RunnerRecord,
    TaskEpoch,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
)
from mqtasks.scheduler import Scheduler, SchedulerOptions
from mqtasks.service import TaskService
from mqtasks.storage.contract import Completion, Renewal
from mqtasks.storage.memory import MemoryTaskStorage

TIMEOUT = 15.0
LEASE_MS = round(TIMEOUT * 1000)


class Spy:
    """A storage that counts calls and rows read, and runs whatever a test hooks in before one."""

    def __init__(self, storage: MemoryTaskStorage) -> None:
        self.inner = storage
        self.calls: Counter[str] = Counter()
        self.rows_read = 0
        self.before: Callable[[str], None] = lambda _name: None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            self.before(name)
            answer = found(*args, **kwargs)
            if name in {"lane_tasks", "lane_signatures", "query", "load"}:
                self.rows_read += len(answer)
            return answer

        return call

    def reset(self) -> None:
        self.calls.clear()
        self.rows_read = 0


class FakeRedis(LocalHeartbeats):
    """Heartbeat keys that can be evicted, on a server that can be away or forget everything."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self._ticker = clock
        self._watched_since: float | None = clock.monotonic()

    @property
    def away(self) -> bool:
        return self._watched_since is None

    def go_away(self) -> None:
        self._watched_since = None

    def come_back(self) -> None:
        self._watched_since = self._ticker.monotonic()

    def flush(self) -> None:
        self.evict()
        self._watched_since = self._ticker.monotonic()

    def evict(self) -> None:
        """Lose every key as maxmemory would, unnoticed."""
        self._runners.clear()
        self._tasks.clear()

    def continuity(self) -> float:
        return (
            0.0 if self._watched_since is None else self._ticker.monotonic() - self._watched_since
        )

    def alive_runners(self, runner_ids: Any) -> Any:
        return None if self.away else super().alive_runners(runner_ids)

    def alive_tasks(self, task_ids: Any) -> Any:
        return None if self.away else super().alive_tasks(task_ids)


class World:
    """Everything a scheduler needs, and short-hands for what happens around it."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.spy = Spy(MemoryTaskStorage(clock))
        self.storage = self.spy.inner
        self.redis = FakeRedis(clock)
        self.service = TaskService(self.spy, heartbeats=self.redis, clock=clock)  # type: ignore[arg-type]
        self.generations: dict[str, int] = {}

    def scheduler(self, holder: str = "s1", **options: Any) -> Scheduler:
        """Return a scheduler that has not taken a step yet."""
        return Scheduler(self.service, SchedulerOptions(**options), holder=holder)

    def leader(self, holder: str = "s1", **options: Any) -> Scheduler:
        """Return a scheduler that leads."""
        scheduler = self.scheduler(holder, **options)
        scheduler.parts.election.run_once()
        assert scheduler.leading
        return scheduler

    def runner(self, runner_id: str = "r1", *executors: str, **fields: Any) -> str:
        """Register a runner of ``executors`` (by default "work"); return its id."""
        record = RunnerRecord(
            id=runner_id, holder=runner_id, executors=executors or ("work",), **fields
        )
        self.generations[runner_id] = self.storage.register_runner(record, LEASE_MS, 3)
        return runner_id

    def create(self, count: int = 1, executor: str = "work", **options: Any) -> list[int]:
        """Create tasks; return their ids."""
        start = self.storage.count_by_status(10**9)
        offset = sum(start.values())
        made = TaskOptions(**options)
        created = self.service.create_tasks(
            [
                NewTask(TaskMetadata(f"{executor}-{offset + i}", executor, options=made))
                for i in range(count)
            ]
        )
        return [item.task_id for item in created]

    def live(self, runner_id: str = "r1") -> list[TaskEpoch]:
        """Return what a runner owns."""
        return [
            TaskEpoch(item.task_id, item.epoch)
            for item in self.storage.owned(runner_id, self.generations[runner_id])
        ]

    def finish(self, runner_id: str = "r1", count: int = 10**9) -> int:
        """Let a runner complete up to ``count`` tasks; return how many it did."""
        ended = self.live(runner_id)[:count]
        self.storage.complete_many(
            runner_id, [Completion(item.task_id, item.epoch, ExecuteResult()) for item in ended]
        )
        return len(ended)

    def start(self, runner_id: str = "r1") -> None:
        """Let a runner tell storage that all its tasks are in executors."""
        self.storage.mark_started(runner_id, self.live(runner_id))

    def beat(self, *runner_ids: str) -> None:
        """Write the runners' Redis keys."""
        beats = [RunnerBeat(runner_id=r, generation=self.generations[r]) for r in runner_ids]
        self.redis.beat_runners(beats, TIMEOUT)

    def renew(self, *runner_ids: str) -> frozenset[str]:
        """Renew the runners' leases; return who could."""
        renewals = [Renewal(r, self.generations[r]) for r in runner_ids]
        return self.storage.renew_runners(renewals, LEASE_MS)

    def task(self, task_id: int) -> AsyncTask:
        (found,) = self.storage.load([task_id])
        return found

    def status(self, task_id: int) -> TaskStatus:
        return self.task(task_id).status

    def pass_time(self, scheduler: Scheduler, seconds: float, *alive: str) -> None:
        """Let time pass in steps of half a second; ``alive`` runners renew and beat meanwhile."""
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)
            if alive:
                self.renew(*alive)
                if not self.redis.away:
                    self.beat(*alive)
            scheduler.run_once()
