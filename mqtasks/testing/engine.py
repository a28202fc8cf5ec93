"""Allocating and executing tasks one after the other, by the code that production runs.

A pass of the scheduler gives one task to one runner, whose slot is the only free one; then that
task is run to its committed end. A task that makes others run meanwhile, because it drains or
because they run inline, occupies its runner, so a second one is registered for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from mqtasks.clock import ManualClock
from mqtasks.model import AsyncTask, TaskStatus
from mqtasks.registry import TaskRegistry
from mqtasks.scheduler import Scheduler, SchedulerOptions
from mqtasks.testing.coroutines import Coroutines, run_here
from mqtasks.testing.crash import Crash, Probe
from mqtasks.testing.hand import HandRunner, offer_for
from mqtasks.testing.report import Ran, Stuck, how_it_ended
from mqtasks.testing.service import TestingService
from mqtasks.worker.held import Held
from mqtasks.worker.options import RunnerOptions

_LONGEST_FREEZE: Final = 4
"""Heartbeat timeouts after which a frozen runner has been fenced for certain."""
_MOST_MEANWHILE: Final = 1000
"""Executions while one runner is frozen, at most."""


class Engine:
    """A scheduler and as many runners as executions are nested. Safe from many threads."""

    def __init__(
        self,
        service: TestingService,
        registry: TaskRegistry,
        clock: ManualClock,
        *,
        labels: Mapping[str, str],
        resources: Mapping[str, float],
    ) -> None:
        self._service = service
        self._registry = registry
        self._clock = clock
        self._labels = labels
        self._resources = resources
        settings = service.settings
        self._options = (
            RunnerOptions(parallelism=1, max_wait_tasks=0)
            if settings is None
            else RunnerOptions.from_settings(settings, parallelism=1, max_wait_tasks=0)
        )
        self._scheduler = Scheduler(
            service,
            SchedulerOptions() if settings is None else SchedulerOptions.from_settings(settings),
        )
        self._coroutines = Coroutines()
        self._lock = threading.RLock()
        self._local = threading.local()
        self._numbers = itertools.count(1)
        self._known: tuple[tuple[str, ...], Sequence[object]] = ((), ())
        self._runners: list[HandRunner] = []
        self._ready: deque[tuple[HandRunner, Held]] = deque()
        self._probes: dict[int, Probe] = {}
        self.crashes: Final[list[Crash]] = []
        """Plans in force."""
        self.history: Final[list[Ran]] = []
        """All executions, in the order in which they ended."""

    @property
    def stepping(self) -> bool:
        """Whether this thread is between two executions, so that what it hints is seen anyway."""
        return bool(getattr(self._local, "stepping", False))

    @property
    def executing(self) -> bool:
        """Whether some task is in its executor."""
        return bool(self._probes)

    # -- running ---------------------------------------------------------------------------------

    def step(self) -> Ran | None:
        """Run the task that is next to its end; None if nothing can run now."""
        found = self._next()
        if found is None:
            return None
        runner, held = found
        probe = self._begin(runner, held)
        try:
            with self._marked(stepping=False):
                runner.execute(held)
        finally:
            self._probes.pop(held.task_id, None)
        return self._end(runner, held, probe)

    async def astep(self) -> Ran | None:
        """As `step`; an async task runs on the running loop, another one in a thread."""
        found = self._next()
        if found is None:
            return None
        runner, held = found
        probe = self._begin(runner, held)
        try:
            if held.executor.is_async:
                await run_here(runner.parts.execution.run_async, held)
            else:
                await asyncio.to_thread(runner.execute, held)
        finally:
            self._probes.pop(held.task_id, None)
        return self._end(runner, held, probe)

    def has_work(self) -> bool:
        """Return whether `step` would run a task."""
        found = self._next()
        if found is not None:
            self._ready.appendleft(found)
        return found is not None

    def _next(self) -> tuple[HandRunner, Held] | None:
        with self._lock, self._marked(stepping=True):
            if self._ready:
                return self._ready.popleft()
            self._prepare()
            self._scheduler.run_once()
            for runner in list(self._runners):
                runner.look()
            if not self._ready:
                # Whatever ended without an execution, canceled or lost, has left its slot.
                for runner in self._runners:
                    runner.parts.completer.run_once()
                return None
            return self._ready.popleft()

    def _begin(self, runner: HandRunner, held: Held) -> Probe:
        probe = Probe(held, self.crashes, lambda: self._freeze(runner))
        self._probes[held.task_id] = probe
        return probe

    def _end(self, runner: HandRunner, held: Held, probe: Probe) -> Ran:
        with self._lock, self._marked(stepping=True):
            if probe.died:
                self._bury(runner, held, executing=True)
            else:
                runner.commit(held)
                if runner.frozen:
                    runner.leave()
                    self._runners.remove(runner)
                elif probe.reached("after_commit"):
                    self._bury(runner, held, executing=False)
            rows = self._service.storage.load([held.task_id])
            row = rows[0] if rows else None
            ran = how_it_ended(held, row, died=probe.died, error=probe.error)
            self.history.append(ran)
            self._retire_surplus()
        return ran

    def _freeze(self, runner: HandRunner) -> None:
        """Let a runner stand still until it is fenced and all its work is done by others."""
        runner.frozen = True
        scheduler = self._scheduler.options
        moment = min(scheduler.leader_renew, scheduler.heartbeat_timeout / 3)
        with self._lock, self._marked(stepping=True):
            for _ in range(round(_LONGEST_FREEZE * scheduler.heartbeat_timeout / moment)):
                self._clock.advance(moment)
                self._prepare()
                self._scheduler.run_once()
                if runner.fenced(self._service.storage.runners()):
                    break
        for _ in range(_MOST_MEANWHILE):
            if self.step() is None:
                return

    # -- time ------------------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> float | None:
        """Move the clock, act on deadlines and cron; return seconds to the next firing of any.

        Leases are renewed: while a process lives, its keeper does that.
        """
        with self._lock, self._marked(stepping=True):
            self._scheduler.parts.election.resign()  # it would find its lease lapsed
            self._clock.advance(seconds)
            for runner in self._runners:
                runner.beat()
                if runner.busy:
                    runner.look()
            return self._service.trigger_due_cron()

    # -- what is left ----------------------------------------------------------------------------

    def stuck(self, rows: Iterable[AsyncTask]) -> tuple[Stuck, ...]:
        """Return those of ``rows`` that are due, and why they do not run."""
        created = [task for task in rows if task.status is TaskStatus.CREATED]
        if not created:
            return ()
        with self._lock:
            lanes = {lane: why for lane, _, why in self._scheduler.parts.allocator.explain()}
        return tuple(
            Stuck(
                task.id,
                task.metadata.id,
                task.metadata.executor,
                self._why(task) or str(lanes.get(task.lane, "it has not been looked at")),
            )
            for task in created
        )

    def _why(self, task: AsyncTask) -> str:
        if self._registry.get(task.metadata.executor) is not None:
            return ""
        return f"the application has no task {task.metadata.executor!r}"

    def close(self) -> None:
        """Stop all runners and close the event loops."""
        with self._lock, self._marked(stepping=True):
            for runner in self._runners:
                runner.retire()
            self._runners.clear()
            self._scheduler.stop()
        self._coroutines.close()

    # -- runners, under the lock -----------------------------------------------------------------

    def _prepare(self) -> None:
        """See to it that exactly one runner has a free slot, and knows all executors."""
        known = (self._registry.codes(), self._registry.middlewares)
        if known != self._known:
            self._known = known
            self._retire([runner for runner in self._runners if not runner.busy])
        if known[0] and all(runner.busy for runner in self._runners):
            self._runners.append(self._new_runner())
        for runner in self._runners:
            runner.beat()
        self._scheduler.parts.allocator.capacity.expire()

    def _new_runner(self) -> HandRunner:
        definitions = list(self._registry)
        return HandRunner(
            f"testing-{next(self._numbers)}",
            self._service,
            definitions=definitions,
            offer=offer_for(definitions, self._labels, self._resources),
            options=self._options,
            coroutines=self._coroutines,
            start=lambda runner, held: self._ready.append((runner, held)),
            step_stored=self._step_stored,
        )

    def _step_stored(self, held: Held, name: str) -> None:
        probe = self._probes.get(held.task_id)
        if probe is not None:
            probe.step_stored(name)

    def _bury(self, runner: HandRunner, held: Held, *, executing: bool) -> None:
        runner.die(held, executing=executing)
        self._runners.remove(runner)

    def _retire_surplus(self) -> None:
        idle = [runner for runner in self._runners if not runner.busy]
        self._retire(idle[1:])

    def _retire(self, runners: Iterable[HandRunner]) -> None:
        for runner in runners:
            runner.retire()
            self._runners.remove(runner)

    @contextlib.contextmanager
    def _marked(self, *, stepping: bool) -> Iterator[None]:
        before = self.stepping
        self._local.stepping = stepping
        try:
            yield
        finally:
            self._local.stepping = before
