"""`TaskTester`: an application whose tasks run when the test says so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from mqtasks.app import MQTasks, Task
from mqtasks.clock import ManualClock, SystemClock
from mqtasks.config import Settings
from mqtasks.coordination.local import local_coordination
from mqtasks.errors import InvalidArgument, MQTasksError, TaskFailed
from mqtasks.model import AsyncTask, TaskStatus
from mqtasks.runtime import Runtime
from mqtasks.testing.assertions import Assertions, code_of
from mqtasks.testing.crash import Crash, Point
from mqtasks.testing.engine import Engine
from mqtasks.testing.report import DrainReport, Ran, scheduled_of
from mqtasks.testing.service import QuietWaiter, TestingService
from mqtasks.testing.storage import TestingStorage, storage_of, uncommitted_of

if TYPE_CHECKING:
    from mqtasks.service import TaskService

LIMIT: Final = 1000
"""Executions of one drain before it is given up as endless."""
MOVES: Final = 100
"""How often `TaskTester.exhaust` moves the clock before tasks count as endless."""


class TaskTester(Assertions):
    """Lends an application a storage, a clock and a worker of its own, until it is left.

    Made by `manual` and `inline`, or by the pytest fixture ``mqtasks_app``. A context manager; all
    methods are safe to call from many threads. Everything but processes is real: payloads are
    encoded and decoded, the scheduler allocates, limits and retries and leases hold.
    """

    def __init__(
        self,
        app: MQTasks,
        *,
        run_inline: bool = False,
        raise_errors: bool = True,
        url: str = "memory://",
        start: datetime | None = None,
        settings: Settings | None = None,
        labels: Mapping[str, str] | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        """See `manual` and `inline`."""
        if start is not None and start.tzinfo is None:
            raise InvalidArgument("start", start, "must be aware: add tzinfo, for example UTC")
        now_ms = SystemClock().now_ms() if start is None else round(start.timestamp() * 1000)
        super().__init__(app)
        self.clock: Final = ManualClock(now_ms)
        """The only clock there is; it stands still between calls of `advance`."""
        chosen = (settings or Settings()).replace(url=url, redis=None)
        storage = storage_of(url, self.clock)
        self._runtime = Runtime(
            chosen,
            storage,
            local_coordination(chosen.namespace, self.clock),
            self.clock,
            TestingService,
        )
        service = self._runtime.service
        assert isinstance(service, TestingService)  # noqa: S101 - for the type checker
        assert isinstance(service.waiter, QuietWaiter)  # noqa: S101 - as above
        service.waiter.settle = self._settle
        service.on_work = self._work_came
        self._engine = Engine(
            service,
            app.registry,
            self.clock,
            labels=labels or {},
            resources=resources or {},
        )
        self._inline = run_inline
        self._raise_errors = raise_errors
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Lend the application what this has made."""
        self.clear()
        self._exits.callback(self._runtime.close)
        self._exits.callback(self._engine.close)
        self._exits.enter_context(self.app.borrowing(self._runtime))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the application back as it was, and forget all tasks."""
        self._exits.close()

    @property
    def service(self) -> TaskService:
        """The task service under the application."""
        return self._runtime.service

    # -- running ---------------------------------------------------------------------------------

    def drain(self, *, limit: int = LIMIT, raise_errors: bool = False) -> DrainReport:
        """Run what is due, and what that enqueues, until nothing is; return what happened.

        Time stands still meanwhile: what is delayed, or retried later, stays scheduled; `advance`
        to it. Executors run in the calling thread one after the other, async ones on an event
        loop. With ``raise_errors`` the exception of the first task that ends FAILED is raised.

        Raises MQTasksError after ``limit`` executions, as tasks that enqueue themselves never end.
        """
        began = len(self._engine.history)
        for _ in range(limit):
            ran = self._engine.step()
            if ran is None:
                return self._report(began)
            if raise_errors:
                _raise(ran)
        if self._engine.has_work():
            raise self._endless(began, limit)
        return self._report(began)

    def exhaust(self, *, moves: int = MOVES, limit: int = LIMIT) -> DrainReport:
        """Drain, and `advance` to what is scheduled, until nothing is; return all that has run.

        Raises MQTasksError after ``moves`` of the clock, or for an endless `drain`.
        """
        began = len(self._engine.history)
        for _ in range(moves):
            upcoming = self.drain(limit=limit).scheduled
            if not upcoming:
                return self._report(began)
            self.advance_to(upcoming[0].at)
        raise MQTasksError(
            f"tasks are still scheduled after {moves} moves of the clock: does one delay itself"
            " for ever?"
        )

    async def adrain(self, *, limit: int = LIMIT, raise_errors: bool = False) -> DrainReport:
        """As `drain`, for tests that are coroutines: async tasks run on their event loop.

        Plain ones run in a thread, which the loop does not wait for.
        """
        began = len(self._engine.history)
        for _ in range(limit):
            ran = await self._engine.astep()
            if ran is None:
                return self._report(began)
            if raise_errors:
                _raise(ran)
        if self._engine.has_work():
            raise self._endless(began, limit)
        return self._report(began)

    def run_next(self) -> Ran | None:
        """Run the task that is next, and nothing else; None if none is due."""
        return self._engine.step()

    def advance(self, by: float | timedelta) -> DrainReport:
        """Let time pass: seconds >= 0, or a timedelta. Return what ran because of it.

        Cron tasks fire at each of their times on the way. In manual mode nothing runs before the
        next `drain`; inline, what becomes due runs at its time. Called in an executor it stands
        for work that takes long: timeouts hit.
        """
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if not seconds >= 0:
            raise InvalidArgument("by", by, "must be >= 0 seconds, or a timedelta")
        began = len(self._engine.history)
        left = round(seconds * 1000)
        upcoming = self._engine.pass_time(0)
        while left:
            waits = [left / 1000]
            if upcoming is not None:
                waits.append(upcoming)
            if self._inline:
                due_ms = self.service.storage.next_due_in_ms()
                if due_ms is not None and due_ms > 0:
                    waits.append(due_ms / 1000)
            passing = max(1, round(min(waits) * 1000))
            left -= passing
            upcoming = self._engine.pass_time(passing / 1000)
            self._work_came()
        return self._report(began)

    def advance_to(self, moment: datetime) -> DrainReport:
        """`advance` until an aware ``moment``, which must not be over."""
        if moment.tzinfo is None:
            raise InvalidArgument("moment", moment, "must be aware: add tzinfo, for example UTC")
        return self.advance(moment.timestamp() - self.clock.now_ms() / 1000)

    # -- modes -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def inline(self, *, raise_errors: bool = True) -> Iterator[Self]:
        """Run tasks as soon as they are enqueued while the block lasts; see `mqtasks.testing`."""
        before = self._inline, self._raise_errors
        self._inline, self._raise_errors = True, raise_errors
        try:
            yield self
        finally:
            self._inline, self._raise_errors = before

    @contextlib.contextmanager
    def manual(self) -> Iterator[Self]:
        """Let tasks wait for `drain` while the block lasts."""
        before, self._inline = self._inline, False
        try:
            yield self
        finally:
            self._inline = before

    def committed(self) -> None:
        """Say that transactions with tasks were committed, for libraries that do not tell it.

        Those are the bare drivers: PyMySQL, mysqlclient, sqlite3. SQLAlchemy and Django tell.
        Over a storage of another ``url`` it does nothing: there the rows are committed themselves.
        """
        storage = self.service.storage
        if isinstance(storage, TestingStorage):
            storage.commit_of()
        self._work_came()

    # -- crashes ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def crash(
        self,
        point: Point,
        *,
        task: Task[..., Any] | int | str | None = None,
        step: str | None = None,
        times: int = 1,
        skip: int = 0,
    ) -> Iterator[Crash]:
        """Kill the process of the runner at a point of an execution, while the block lasts.

        ``before_run``: the task is handed to its function, which has not begun. ``after_step``: a
        step (the one called ``step``, or any) is stored. ``after_run``: the function is over, its
        outcome not committed. ``after_commit``: it is. ``frozen``: the process does not die, it
        stands still before the function begins, until its lease has lapsed and all tasks were run
        by others; then it goes on, and what it writes is refused.

        ``task`` names the tasks concerned, default all; the first ``skip`` times are let pass,
        then the process dies ``times`` times. The task moves to another runner as in production:
        with the next epoch, and a crash charged if it was in its function. The block's
        ``happened`` counts; MQTasksError is raised if it stays 0.
        """
        executor = None if task is None else code_of(task)
        plan = Crash(point, executor=executor, step=step, times=times, skip=skip)
        with self.crashing(plan):
            yield plan
        if not plan.happened:
            raise MQTasksError(
                f"no process has died at {plan}: no such task came to that point in this block;"
                " drain inside it"
            )

    @contextlib.contextmanager
    def crashing(self, plan: Crash | None) -> Iterator[None]:
        """Follow a plan while the block lasts; it need not come true."""
        if plan is None:
            yield
            return
        self._engine.crashes.append(plan)
        try:
            yield
        finally:
            self._engine.crashes.remove(plan)

    # -- what the service and the engine ask -----------------------------------------------------

    def _work_came(self) -> None:
        if self._inline and not self._engine.stepping:
            self.drain(raise_errors=self._raise_errors)

    def _settle(self, task_ids: Sequence[int]) -> None:
        """See to it that tasks have ended; a task that waits for others lets them run."""
        if self._engine.executing or self._inline:
            self.drain()
        waiting = self.service.storage.unended(task_ids)
        if waiting:
            state = self.service.get(min(waiting)).status.name
            raise MQTasksError(
                f"task {min(waiting)} is {state}, and nothing runs by itself in a test: call"
                " drain() before its result is asked for, and advance(seconds) if it is scheduled"
            )

    # -- reports ---------------------------------------------------------------------------------

    def _rows(self) -> list[AsyncTask]:
        """Return all tasks but those that are not committed yet."""
        storage = self.service.storage
        hidden = storage.uncommitted if isinstance(storage, TestingStorage) else ()
        return [row for row in storage.query() if row.id not in hidden]

    def _report(self, began: int) -> DrainReport:
        rows = self._rows()
        return DrainReport(
            tuple(self._engine.history[began:]),
            scheduled_of(rows, self.clock.now_ms()),
            (*self._engine.stuck(rows), *uncommitted_of(self.service.storage)),
            tuple(row.id for row in rows if row.status is TaskStatus.WAITING),
        )

    def _endless(self, began: int, limit: int) -> MQTasksError:
        ran = [one.task for one in self._engine.history[began:]]
        most = max(set(ran), key=ran.count)
        return MQTasksError(
            f"drain has run {len(ran)} tasks (limit={limit}), {ran.count(most)} of them {most!r},"
            " and more are due: does a task enqueue itself? Delay it, or give drain a higher limit"
        )


def _raise(ran: Ran) -> None:
    if ran.ended == "failed":
        raise ran.error or TaskFailed(ran.task_id, ran.reason)
