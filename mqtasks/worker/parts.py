"""Putting a runner together: which part talks to which, and which loop runs which step."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from mqtasks.coordination.base import Subscription
from mqtasks.coordination.local import LocalNotifier
from mqtasks.events import bus
from mqtasks.loop import ChangeWatcher, Loop, LoopGroup, LoopLike
from mqtasks.model import RunnerRecord
from mqtasks.payload import PayloadCodec
from mqtasks.service import TaskService
from mqtasks.worker.admission import Admission
from mqtasks.worker.board import Board
from mqtasks.worker.cancel import Canceller
from mqtasks.worker.completer import Completer
from mqtasks.worker.context import Surroundings
from mqtasks.worker.dispatcher import Dispatcher
from mqtasks.worker.drain import Drain, give_back
from mqtasks.worker.ended import EndedNews
from mqtasks.worker.escalation import Escalation
from mqtasks.worker.eventloop import ExecutorLoop
from mqtasks.worker.executor import Execution
from mqtasks.worker.executors import Executor
from mqtasks.worker.fencing import Fencing
from mqtasks.worker.fetcher import Fetcher
from mqtasks.worker.held import Held, Holdings
from mqtasks.worker.hints import HintIntake
from mqtasks.worker.identity import Identity
from mqtasks.worker.isolation.execution import IsolatedExecution
from mqtasks.worker.isolation.origin import NO_ORIGIN, Origin, preparation
from mqtasks.worker.isolation.pool import ChildPool
from mqtasks.worker.marker import Marker
from mqtasks.worker.once import Once
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.progress import ProgressWriter
from mqtasks.worker.relatives import Relatives
from mqtasks.worker.slots import SlotNews
from mqtasks.worker.steps import StoredSteps
from mqtasks.worker.telemetry import Telemetry
from mqtasks.worker.threads import ExecutorThreads
from mqtasks.worker.transaction import Transactions
from mqtasks.worker.watchdog import Watchdog

_IDLE: Final = 60.0
"""Interval of loops that wait to be woken."""
_CLOCK_ERROR: Final = 1.0
"""Seconds by which a hint's age may be misjudged; see `hints`."""


class Parts:
    """All parts of one running `TaskRunner`, as step functions; `loops` are their shells.

    Built by each start and dropped by the stop that follows. Tests call the steps themselves.
    """

    def __init__(
        self,
        record: RunnerRecord,
        service: TaskService,
        options: RunnerOptions,
        executors: Mapping[int | str, Executor],
        board: Board,
        *,
        rng: random.Random | None = None,
        origin: Origin = NO_ORIGIN,
    ) -> None:
        """Build a runner that registers as ``record`` and shows what it does on ``board``."""
        self.service: Final = service
        self.options: Final = options
        self.board: Final = board
        storage, clock, runner_id = service.storage, service.clock, record.id
        self.stopping: Final = threading.Event()
        self.identity: Final = Identity(record, storage, board, options, clock)
        self.holdings: Final = Holdings()
        self.once: Final = Once(options.fetch_interval + 2 * _CLOCK_ERROR)
        self.telemetry: Final = Telemetry(runner_id, bus, options.log)
        self.dispatcher: Final = Dispatcher(board, clock, options.heartbeat_interval)
        self.canceller: Final = Canceller(self._throw, self._insist)
        self.progress: Final = ProgressWriter(
            runner_id, storage, self.canceller, clock, service.database_clock.now_ms
        )
        self.completer: Final = Completer(
            runner_id=runner_id,
            storage=storage,
            holdings=self.holdings,
            once=self.once,
            progress=self.progress,
            telemetry=self.telemetry,
            clock=clock,
        )
        settle = self.completer.add
        self.marker: Final = Marker(
            runner_id, storage, self.canceller, self.dispatcher.marked, self._dropped
        )
        encode = PayloadCodec(service.max_payload_bytes).encode_result
        self.surroundings: Final = Surroundings(
            runner_id,
            clock.monotonic,
            self.progress.report,
            encode,
            options.log,
            Transactions(runner_id, storage, clock.monotonic, service.max_payload_bytes),
            StoredSteps(runner_id, storage, self.canceller, service.max_payload_bytes),
            Relatives(runner_id, lambda: service, self.canceller),
        )
        self.execution: Final = Execution(
            board,
            clock,
            self.surroundings,
            settle,
            self.dispatcher.ended,
            max_result_bytes=service.max_payload_bytes,
            rng=rng or random.Random(),
            events=bus,
        )
        self.isolated: Final = IsolatedExecution(
            board,
            clock,
            self.surroundings,
            settle,
            self.dispatcher.ended,
            max_result_bytes=service.max_payload_bytes,
            rng=rng or random.Random(),
            events=bus,
        )
        calls = [found.isolated for found in executors.values() if found.isolated is not None]
        self.children: Final = ChildPool(
            origin.module,
            lambda: preparation(calls, origin, runner_id, service, options),
            options.isolated_tasks,
        )
        self.isolated.connect(self.children, options, self.dispatcher.begun)
        self.threads: Final = ExecutorThreads(self._execute, self.dispatcher.follow)
        self.event_loop: Final = ExecutorLoop(self.execution.run_async)
        self.escalation: Final = Escalation(
            runner_id=runner_id,
            execution=self.execution,
            threads=self.threads,
            event_loop=self.event_loop,
            ended=self.dispatcher.ended,
            exhausted=self._exhausted,
            options=options,
            clock=clock,
        )
        self.on_exhausted: Callable[[], None] = lambda: None
        """Called when as many threads are lost as there are slots."""
        capacity = options.parallelism + options.max_wait_tasks
        self.admission: Final = Admission(
            capacity=capacity,
            executors=executors,
            once=self.once,
            holdings=self.holdings,
            dispatcher=self.dispatcher,
            canceller=self.canceller,
            settle=settle,
            watch=self._watch,
            database_ms=service.database_clock.now_ms,
            clock=clock,
            log=options.log,
        )
        self.fetcher: Final = Fetcher(
            identity=self.identity,
            storage=storage,
            options=options,
            once=self.once,
            holdings=self.holdings,
            admission=self.admission,
            dispatcher=self.dispatcher,
            canceller=self.canceller,
            marker=self.marker,
            settle=settle,
            hints_flow=self.hints_flow,
            clock=clock,
        )
        self.fencing: Final = Fencing(
            identity=self.identity,
            storage=storage,
            holdings=self.holdings,
            dispatcher=self.dispatcher,
            canceller=self.canceller,
            admission=self.admission,
            wait=self.stopping.wait,
            events=bus,
            log=options.log,
        )
        self.hints: Final = HintIntake(
            self.identity,
            self.admission,
            self._look,
            lambda most: give_back(self.dispatcher, settle, most, "asked to give it back"),
            database_ms=service.database_clock.now_ms,
            fresh_for=options.fetch_interval,
            key=service.hint_key,
        )
        self.watchdog: Final = Watchdog(
            identity=self.identity,
            board=board,
            dispatcher=self.dispatcher,
            canceller=self.canceller,
            escalation=self.escalation,
            fetcher=self.fetcher,
            fenced=self._look,
            settle=settle,
            options=options,
            clock=clock,
        )
        self.slots: Final = SlotNews(self.holdings, options.parallelism, service.hint_created)
        self.ended: Final = EndedNews(clock.monotonic, service.hint_ended)
        self.drain: Final = Drain(
            identity=self.identity,
            storage=storage,
            holdings=self.holdings,
            admission=self.admission,
            dispatcher=self.dispatcher,
            canceller=self.canceller,
            completer=self.completer,
            marker=self.marker,
            announce=service.hint_created,
            options=options,
            clock=clock,
        )
        self.dispatcher.connect(self.threads, self.event_loop, self.marker, self.watchdog.watch)
        self.completer.on_committed = self._committed
        self._subscription: Subscription | None = None
        self.loops: Final = LoopGroup(self._loops(), clock)

    # -- loops -----------------------------------------------------------------------------------

    def _loops(self) -> Sequence[LoopLike]:
        self.done_loop = self._loop("done", self.completer.run_once)
        self.write_loop = self._loop("marks", self.write_once)
        self.hint_loop = self._loop("intake", self.hints.run_once)
        self.watch_loop = self._loop("watchdog", self.watchdog.run_once)
        self.fetch_loop = self._loop("fetch", self.fetch_if_due)
        self.completer.wake = self.done_loop.wake
        self.marker.wake = self.progress.wake = self.write_loop.wake
        self.hints.wake = self.hint_loop.wake
        self.watchdog.wake = self.escalation.wake = self.watch_loop.wake
        loops: list[LoopLike] = [
            self.done_loop,
            self.write_loop,
            self.hint_loop,
            self.watch_loop,
            self.fetch_loop,
        ]
        if self._must_watch:
            poll = self.service.storage.change_count
            self.watcher = ChangeWatcher(poll, self._look, clock=self.service.clock)
            loops.append(self.watcher)
        return loops

    def _loop(self, name: str, step: Callable[[], float | None]) -> Loop:
        options = self.options
        return Loop(
            name,
            step,
            _IDLE,
            clock=self.service.clock,
            retry_interval=options.retry_interval,
            logger=options.log,
        )

    def fetch_once(self) -> float:
        """Come back if fenced, then look at storage; return seconds until the next look."""
        identity = self.identity
        if identity.generation and self.board.fenced == identity.generation:
            self.fencing.run_once()
            self.service.hint_created()  # what the earlier generation held is free
        return self.fetcher.run_once()

    def fetch_if_due(self) -> float:
        """Look unless nothing asks for it; return the seconds, one interval at most, to wait."""
        rest = self.fetcher.rest()
        return rest if rest > 0 else min(self.fetch_once(), self.options.heartbeat_interval)

    def write_once(self) -> float | None:
        """Write starts, then progress; return seconds until progress is due again."""
        self.marker.run_once()
        return self.progress.run_once()

    # -- hints -----------------------------------------------------------------------------------

    @property
    def _must_watch(self) -> bool:
        """Whether other processes may allocate, and nothing but storage itself tells of it."""
        capabilities = self.service.storage.capabilities
        local = isinstance(self.service.notifier, LocalNotifier)
        return local and capabilities.cross_process and capabilities.change_counter

    def hints_flow(self) -> bool:
        """Return whether allocations reach this process without looking for them."""
        service = self.service
        if isinstance(service.notifier, LocalNotifier) and not self._must_watch:
            # Hints stay in this process; they are all there is only if the tasks do, too.
            return not service.storage.capabilities.cross_process
        subscription = self._subscription
        return service.notifier.healthy() and subscription is not None and subscription.active

    def subscribe(self) -> None:
        """Listen to this runner's channels."""
        keys, runner_id = self.service.keys, self.identity.runner_id
        allocated, revoked = keys.allocated(runner_id), keys.revoked(runner_id)

        def receive(channel: str, payload: bytes) -> None:
            if channel == keys.waiting:
                self.ended.awaited()
                return
            (self.hints.allocated if channel == allocated else self.hints.revoked)(payload)

        self._subscription = self.service.notifier.subscribe(
            [allocated, revoked, keys.waiting], receive, self._look
        )

    def unsubscribe(self) -> None:
        """Listen no more."""
        if self._subscription is not None:
            self._subscription.close()

    # -- what one part tells another -------------------------------------------------------------

    def _look(self) -> None:
        self.fetcher.asked = True
        self.fetch_loop.wake()

    def _execute(self, held: Held) -> None:
        """Run a task that is not async to its end, in this thread or in a child process."""
        (self.execution if held.executor.isolated is None else self.isolated).run(held)

    def _throw(self, held: Held) -> None:
        self.event_loop.cancel(held)

    def _watch(self, held: Held) -> None:
        self.watchdog.watch(held)

    def _exhausted(self) -> None:
        self.on_exhausted()

    def _insist(self, held: Held) -> None:
        self.escalation.add(held)

    def _dropped(self, held: Held) -> None:
        """A task that got a slot and will not start."""
        if held.outcome is None:
            self.holdings.discard(held)
        else:
            self.completer.add(held)
        self.dispatcher.ended(held)

    def _committed(self, helds: Sequence[Held], canceled: Sequence[int]) -> None:
        self.slots.committed(helds)
        self.ended.committed(helds, canceled)
        telemetry, dispatcher = self.telemetry, self.dispatcher
        self.board.count(
            dispatcher.started_total,
            telemetry.completed_total,
            telemetry.failed_total,
            dispatcher.free_slots,
        )
        if self.fetcher.left_out and dispatcher.waiting_count < self.options.parallelism:
            self._look()
        self.drain.changed()
