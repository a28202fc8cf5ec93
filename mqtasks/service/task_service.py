"""`TaskService`: what producers, operators, schedulers and runners do with tasks.

One rule holds everywhere: commit first, hint second. A hint that cannot be sent is logged and
counted by the notifier, and costs latency; it never fails the write that came before it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from mqtasks.clock import Clock, SystemClock
from mqtasks.conditions import Condition, where
from mqtasks.config import Settings
from mqtasks.coordination.base import Heartbeats, Notifier, TaskBeat
from mqtasks.coordination.keys import DEFAULT_NAMESPACE, Keys
from mqtasks.coordination.local import LocalHeartbeats, LocalNotifier
from mqtasks.errors import InvalidTask, PayloadTooLarge, TaskNotFound
from mqtasks.model import (
    AsyncTask,
    Attempt,
    Created,
    CronPolicy,
    CronTask,
    ExecuteResult,
    NewTask,
    TaskEpoch,
    TaskMetadata,
    TaskStatus,
    checked_id,
)
from mqtasks.model.cron_policy import DEFAULT_POLICY
from mqtasks.registry import TaskRegistry
from mqtasks.service.control import Control
from mqtasks.service.creating import Creation
from mqtasks.service.cron_trigger import CronTrigger
from mqtasks.service.crons import CronControl
from mqtasks.service.database_clock import DatabaseClock
from mqtasks.service.hint_sender import HintSender
from mqtasks.service.hints import encode_allocated, encode_revoked
from mqtasks.service.waiting import MAX_IDS, TaskWaiter, encode_ended
from mqtasks.storage.contract import (
    Allocation,
    CancelReport,
    Completion,
    RescueReport,
    TaskStorage,
)

DEFAULT_MAX_PAYLOAD_BYTES: Final = 1024 * 1024


class TaskService:
    """Asynchronous task service over a storage, with hints and heartbeat keys beside it.

    Safe to use from many threads. Owns what it is given: `close` closes storage, notifier and
    heartbeats. All errors are `MQTasksError`; StorageUnavailable and StorageConflict mean that the
    same call may simply be made again.
    """

    _waiters: type[TaskWaiter] = TaskWaiter

    def __init__(
        self,
        storage: TaskStorage,
        notifier: Notifier | None = None,
        heartbeats: Heartbeats | None = None,
        logger: logging.Logger | None = None,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        clock: Clock | None = None,
        hint_key: bytes = b"",
        max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
        heartbeat_timeout: float = 15.0,
        settings: Settings | None = None,
    ) -> None:
        """Build a service.

        Without ``notifier`` and ``heartbeats`` hints stay in this process. ``hint_key`` signs the
        hints that carry rows. ``max_payload_bytes`` bounds a task's context and a result's value.
        ``heartbeat_timeout`` (seconds) is the TTL of keys written by `heartbeat`. ``settings`` are
        those that all this was made from, if any: with them another process can make the same.
        """
        self.settings: Final = settings
        self.clock: Final = clock or SystemClock()
        self.storage: Final = storage
        self.notifier: Final = notifier or LocalNotifier()
        self.heartbeats: Final = heartbeats or LocalHeartbeats(self.clock)
        self.logger: Final = logger or logging.getLogger("mqtasks.service")
        self.keys: Final = Keys(namespace)
        self.hint_key: Final = hint_key
        self.max_payload_bytes: Final = max_payload_bytes
        self.registry: TaskRegistry | None = None
        """Whose middlewares stand around all that creates tasks here; set by `MQTasks`."""
        self.database_clock: Final = DatabaseClock(storage.now_ms, self.clock)
        self._heartbeat_timeout = heartbeat_timeout
        self._sender = HintSender(self.notifier)
        self._creation = Creation(self)
        self._cron = CronTrigger(storage, self.hint_created, self.clock, self.cancel)
        self.waiter: Final = self._waiters(storage, self.notifier, self.keys, self.clock)
        """Wakes those who wait for tasks to end."""
        self._closed = False
        self.control: Final = Control(self)
        """Pausing, editing, and acting on many tasks at once."""
        self.crons: Final = CronControl(self, self._cron)
        """Changing cron tasks while they run."""

    # -- producing -----------------------------------------------------------------------------

    def create(self, metadata: TaskMetadata) -> int:
        """Create a task that runs once; return its task id.

        Idempotent by ``metadata.id``: creating it again, also by somebody else at the same
        moment, returns the id of the one row and changes nothing. When this returns the row is
        committed (G1). Raises InvalidArgument and PayloadTooLarge before anything is written.
        While the framework is switched off (`debug_ctl_task_framework`) over an SQL storage,
        nothing is written and the answer is 0.
        """
        return self.create_tasks([NewTask(metadata)])[0].task_id

    def create_batch(self, metadatas: Sequence[TaskMetadata]) -> list[int]:
        """Create many tasks in one transaction; return their task ids in the order given."""
        return [made.task_id for made in self.create_tasks([NewTask(m) for m in metadatas])]

    def create_tasks(self, tasks: Sequence[NewTask]) -> list[Created]:
        """As `create_batch`, with parent and due time for each, and who was new in the answer."""
        return self._creation.create(tasks)

    def create_children(
        self, runner_id: str, owner: TaskEpoch, tasks: Sequence[NewTask]
    ) -> list[Created]:
        """As `create_tasks`, on behalf of a task that this runner executes in this epoch.

        Raises InvalidTask, and writes nothing, if it does not.
        """
        return self._creation.create_children(runner_id, owner, tasks)

    def create_tasks_in(self, connection: Any, tasks: Sequence[NewTask]) -> list[Created]:
        """As `create_tasks`, in the transaction that is open on a connection of the caller's.

        The rows commit or roll back with the caller's writes. The hint goes out after the commit
        where the connection's library tells of it; else call `hint_created`, or leave it to
        polling. Raises InvalidArgument for a connection that cannot be joined, TransactionAborted
        for any error of the database: nothing is tried again (P10).
        """
        return self._creation.create_in(connection, tasks)

    # -- the worker's side, one by one (the reference's form) ------------------------------------

    def allocate(self, task: AsyncTask, runner_id: str) -> AsyncTask:
        """Allocate a CREATED or RUNNING task to a runner by hand; return it as stored.

        Writes epoch + 1 (1 the first time) and compares the epoch of ``task`` (P1). Limits and
        placement are not asked: that is the scheduler's part. Raises InvalidTask if the task has
        moved on, or if the runner has a row that is not active.
        """
        checked_id("runner_id", runner_id)
        generation = next((r.generation for r in self.storage.runners() if r.id == runner_id), 0)
        allocation = Allocation(task.id, task.epoch, runner_id, generation)
        if task.id not in self.storage.allocate_many([allocation]):
            # The first try may have been committed though its answer was lost (P10).
            current = next(iter(self.storage.load([task.id])), None)
            if not (
                current is not None
                and current.runner == runner_id
                and current.epoch == task.epoch + 1
                and current.status is TaskStatus.RUNNING
            ):
                why = "not allocated: it has moved on, or the runner is not active"
                raise InvalidTask(task.id, runner_id, task.epoch, why)
        allocated = self.storage.load([task.id])
        if not allocated:
            raise TaskNotFound(task.id)
        self.hint_allocated(runner_id, generation, allocated)
        return allocated[0]

    def complete(self, runner_id: str, task: AsyncTask, result: ExecuteResult) -> None:
        """End a task with its result.

        Demands that the task is live at this runner in the epoch of ``task``; raises InvalidTask
        otherwise, and nothing is written. Safe to call again after an unknown outcome. A task
        that somebody asked to cancel ends as CANCELED, its outcome kept in the history (P9).
        """
        size = len(result.value)
        if size > self.max_payload_bytes:
            raise PayloadTooLarge(f"result of task {task.id}", size, self.max_payload_bytes)
        report = self.storage.complete_many(runner_id, [Completion(task.id, task.epoch, result)])
        if report.lost:
            raise InvalidTask(task.id, runner_id, task.epoch)
        self.hint_created()  # a slot is free
        self.hint_ended([task.id])

    def heartbeat(self, task: AsyncTask) -> None:
        """Tell the scheduler that a task's execution is alive.

        For runners of your own; `TaskRunner` holds a lease instead. Demands RUNNING, this runner
        and an epoch not above the caller's. Raises InvalidTask if the task was reassigned, has
        ended, or shall be canceled: stop executing it at once.
        """
        runner, epoch = task.runner, task.epoch
        report = self.storage.heartbeat_many(runner, [TaskEpoch(task.id, epoch)])
        if report.lost:
            raise InvalidTask(task.id, runner, epoch)
        self.heartbeats.beat_tasks([TaskBeat(task.id, runner, epoch)], self._heartbeat_timeout)
        if report.canceled:
            raise InvalidTask(task.id, runner, epoch, "a cancellation was requested")

    # -- reading and steering --------------------------------------------------------------------

    def query_task(self, *conditions: Condition) -> list[AsyncTask]:
        """Return the tasks that satisfy all conditions, by ascending task id unless asked."""
        return self.storage.query(*conditions)

    def get(self, task_id: int) -> AsyncTask:
        """Return one task; raises TaskNotFound."""
        found = self.storage.query(where.task_id == task_id)
        if not found:
            raise TaskNotFound(task_id)
        return found[0]

    def attempts(self, task_id: int) -> list[Attempt]:
        """Return the history of a task's allocations that did not end in success."""
        return self.storage.attempts(task_id)

    def cancel(self, *task_ids: int) -> CancelReport:
        """Cancel tasks: waiting ones end at once, running ones are asked (P9).

        A running executor sees it through its context; whatever it does then, the task ends as
        CANCELED. Idempotent; tasks that have ended are reported as ignored.
        """
        report = self.storage.cancel_many(task_ids)
        by_runner: dict[str, list[int]] = {}
        for task_id, runner_id in report.requested:
            by_runner.setdefault(runner_id, []).append(task_id)
        for runner_id, ids in by_runner.items():
            self.hint_revoked(runner_id, ids)
        self.hint_ended(report.canceled)
        return report

    def requeue(self, *task_ids: int, keep_steps: bool = True) -> tuple[int, ...]:
        """Run FAILED and CANCELED tasks again, history and epoch kept; return which were.

        They go on after the steps that are stored; with ``keep_steps`` False those are deleted,
        and every step runs again.
        """
        requeued = self.storage.requeue_many(task_ids, keep_steps=keep_steps)
        if requeued:
            self.hint_created()
        return requeued

    # -- cron ------------------------------------------------------------------------------------

    def create_cron_task(
        self,
        metadata: TaskMetadata,
        cron_expr: str,
        timezone: str = "UTC",
        policy: CronPolicy = DEFAULT_POLICY,
    ) -> bool:
        """Create a task periodically; ``cron_expr`` has five fields, or six with seconds first.

        Idempotent by ``metadata.id``; returns whether it was new. Firing n creates the task
        ``"<metadata.id>:<n>"``. ``policy`` says what becomes of firings that are missed or
        overlap. Raises InvalidCron, InvalidArgument, PayloadTooLarge.
        """
        return self.crons.add(
            CronTask(metadata=metadata, cron_expr=cron_expr, timezone=timezone, policy=policy)
        )

    def query_cron_task(self) -> list[CronTask]:
        """Return all cron tasks, by metadata id."""
        return self.storage.query_cron_task()

    def delete_cron_task(self, metadata_id: str) -> bool:
        """Delete a cron task; tasks it has made stay. False if there is none."""
        deleted = self.storage.delete_cron_task(metadata_id)
        if deleted:
            self.hint_cron()
        return deleted

    def trigger_due_cron(self) -> float | None:
        """Trigger every due cron task once; return seconds until the next is due, None = none.

        Any number of schedulers may call it at the same time: each firing happens once (P12).
        """
        return self._cron.run_once()

    def start_schedule_cron_task(self) -> None:
        """Trigger cron tasks from a thread of this process until stopped. Idempotent."""
        self._cron.start(self.notifier, self.keys.cron)

    def stop_schedule_cron_task(self) -> None:
        """Stop that thread. Idempotent."""
        self._cron.stop()

    # -- hints (after commit) ----------------------------------------------------------------------

    def hint_created(self) -> None:
        """Say that there is something to allocate, or room for it. Merged, returns at once."""
        self._sender.send(self.keys.created)

    def hint_ended(self, task_ids: Sequence[int]) -> None:
        """Say that tasks have ended, a hint for each 1,000 of them. Returns at once."""
        for start in range(0, len(task_ids), MAX_IDS):
            part = task_ids[start : start + MAX_IDS]
            self._sender.send_each(self.keys.ended, encode_ended(part))

    def hint_rescued(self, report: RescueReport) -> None:
        """Say what has become of tasks that were taken from a runner. Returns at once."""
        if report.requeued or report.canceled or report.failed:
            self.hint_created()
        self.hint_ended((*report.canceled, *report.failed))

    def hint_cron(self) -> None:
        """Say that cron definitions changed."""
        self._sender.send(self.keys.cron)

    def hint_allocated(self, runner_id: str, generation: int, tasks: Sequence[AsyncTask]) -> None:
        """Carry rows just allocated to a runner; ``tasks`` are as stored after the allocation."""
        channel = self.keys.allocated(runner_id)
        sent_at = self.database_clock.now_ms()
        self.notifier.publish_many(
            [
                (channel, payload)
                for payload in encode_allocated(
                    runner_id, generation, tasks, sent_at, self.hint_key
                )
            ]
        )

    def hint_revoked(
        self, runner_id: str, task_ids: Sequence[int] = (), give_back: int = 0
    ) -> None:
        """Ask a runner to look at tasks now, or to give back that many it has not started."""
        payload = encode_revoked(task_ids, give_back, self.hint_key)
        self.notifier.publish(self.keys.revoked(runner_id), payload)

    # -- life ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop cron, send hints that wait, close storage, notifier and heartbeats. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.stop_schedule_cron_task()
        self.waiter.close()
        self._sender.close()
        self.notifier.close()
        self.heartbeats.close()
        self.storage.close()

    def __enter__(self) -> Self:
        """Return the service itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the service."""
        self.close()
