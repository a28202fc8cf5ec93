"""What people on call do: hold work back, change tasks that wait, and act on many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from mqtasks.conditions import Condition, Limit, Selection, TaskIdDesc, where
from mqtasks.errors import CronNotFound, InvalidArgument, PayloadTooLarge
from mqtasks.model import (
    AsyncTask,
    CronTask,
    Pause,
    PauseKind,
    ResultCode,
    TaskOptions,
    TaskStatus,
    pause_name,
)

if TYPE_CHECKING:
    from mqtasks.service.task_service import TaskService

CRON: Final = "cron"
_CHUNK: Final = 1000
_TRIES: Final = 10

PauseTarget: TypeAlias = PauseKind | Literal["executor", "key", "tenant", "runner", "cron"]


class Bulk(msgspec.Struct, frozen=True):
    """What an action on many tasks did, or would do."""

    matched: int
    """Tasks that the conditions selected and to which the action applies."""
    changed: int
    """Tasks that it was done to; 0 in a dry run. The others had moved on meanwhile."""
    examples: tuple[int, ...] = ()
    """The first task ids, up to ten."""


class Control:
    """Steering beyond single tasks. Part of `TaskService`; safe to use from many threads."""

    def __init__(self, service: TaskService) -> None:
        """Steer what ``service`` stores."""
        self._service = service
        self._storage = service.storage

    # -- pausing -------------------------------------------------------------------------------

    def pause(self, kind: PauseTarget, name: int | str, reason: str = "") -> bool:
        """Hold back an executor, a concurrency key, a tenant, a runner or a cron task.

        Tasks stay as they are and are not allocated; those allocated already (running, or waiting
        at a runner for the moment) go on, unless you cancel them. A paused runner is cordoned: it
        keeps what it has and gets nothing new. A paused cron task does not fire. The pause is a
        row, so it outlives restarts of everything; schedulers respect it within half a second.
        Returns False if it is paused already. Raises InvalidArgument, and CronNotFound.
        """
        if kind == CRON:
            return self._set_cron_paused(str(name), paused=True, reason=reason)
        kind, stored = pause_name(kind, name)
        return self._storage.pause(kind, stored, reason)

    def resume(self, kind: PauseTarget, name: int | str) -> bool:
        """Lift a pause; False if there is none. Idempotent."""
        if kind == CRON:
            return self._set_cron_paused(str(name), paused=False)
        kind, stored = pause_name(kind, name)
        resumed = self._storage.resume(kind, stored)
        if resumed:
            self._service.hint_created()
        return resumed

    def pauses(self) -> list[Pause]:
        """Return all pauses by kind and name, those of cron tasks left out: they show it."""
        return self._storage.pauses()

    # -- editing -------------------------------------------------------------------------------

    def edit(
        self,
        task_id: int,
        *,
        context: bytes | None = None,
        options: TaskOptions | None = None,
        executor: int | str | None = None,
    ) -> AsyncTask:
        """Change what a task is given, while nobody runs it; return it as stored.

        What is None stays. For tasks that wait, and for failed and canceled ones before they are
        requeued. The epoch of a CREATED task goes up by one: whoever has decided on the old text
        is fenced, so the old arguments never run. Raises TaskNotFound, PayloadTooLarge,
        and InvalidArgument, also if the task is running or has succeeded.
        """
        limit = self._service.max_payload_bytes
        if context is not None and len(context) > limit:
            raise PayloadTooLarge(f"context of task {task_id}", len(context), limit)
        for _ in range(_TRIES):
            task = self._service.get(task_id)
            if task.status.is_live:
                why = "is running: cancel it first, or wait for its end"
                raise InvalidArgument("task_id", task_id, why)
            if task.status is TaskStatus.COMPLETED and not _has_failed(task):
                why = "has succeeded: create a new task instead"
                raise InvalidArgument("task_id", task_id, why)
            edited = _edited(task, context, options, executor)
            unchanged = (where.task_id == task_id, where.status == task.status)
            if self._storage.update([edited], *unchanged, where.epoch == task.epoch):
                self._service.hint_created()
                return self._service.get(task_id)
        raise InvalidArgument("task_id", task_id, "keeps changing its state; try again")

    # -- many at once --------------------------------------------------------------------------

    def cancel_where(
        self,
        *conditions: Condition,
        dry_run: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Bulk:
        """Cancel all tasks that satisfy the conditions and have not ended, a chunk at a time.

        ``dry_run`` only counts. ``where.limit(n)`` bounds how many. Tasks created after the call
        began are left alone. ``progress`` is told after each chunk how many were looked at.
        Demands a comparison or ``where.everything()``: raises InvalidCondition without one.
        """
        Selection(conditions).demand_explicit("cancel_where")
        open_status = where.status.in_([s for s in TaskStatus if not s.is_final])

        def cancel(ids: Sequence[int]) -> int:
            return len(ids) - len(self._service.cancel(*ids).ignored)

        return self._each([*conditions, open_status], cancel, dry_run=dry_run, progress=progress)

    def requeue_where(
        self,
        *conditions: Condition,
        canceled: bool = False,
        dry_run: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Bulk:
        """Run all failed tasks that satisfy the conditions again; history and epoch are kept.

        With ``canceled`` the canceled ones too. Otherwise as `cancel_where`.
        """
        Selection(conditions).demand_explicit("requeue_where")

        def requeue(ids: Sequence[int]) -> int:
            return len(self._service.requeue(*ids))

        ended = [TaskStatus.COMPLETED, TaskStatus.CANCELED] if canceled else [TaskStatus.COMPLETED]
        extra = [where.status.in_(ended)]
        if not canceled:
            extra.append(where.result_code == ResultCode.FAILED)
        return self._each([*conditions, *extra], requeue, dry_run=dry_run, progress=progress)

    def _each(
        self,
        conditions: Sequence[Condition],
        act: Callable[[Sequence[int]], int],
        *,
        dry_run: bool,
        progress: Callable[[int], object] | None,
    ) -> Bulk:
        matched = changed = 0
        examples: list[int] = []
        for ids in self._pages(conditions):
            matched += len(ids)
            examples += ids[: 10 - len(examples)]
            if not dry_run:
                changed += act(ids)
            if progress is not None:
                progress(matched)
        return Bulk(matched, changed, tuple(examples))

    def _pages(self, conditions: Sequence[Condition]) -> Iterator[list[int]]:
        """Yield ids of selected tasks in chunks; none that is younger than the first look."""
        limits = [item.count for item in conditions if isinstance(item, Limit)]
        left = min(limits, default=2**63)
        kept = [item for item in conditions if not isinstance(item, Limit | TaskIdDesc)]
        newest = self._service.query_task(where.task_id_desc(), where.limit(1))
        last = 0
        while newest and left:
            page = self._service.query_task(
                *kept,
                where.task_id > last,
                where.task_id <= newest[0].id,
                where.limit(min(_CHUNK, left)),
            )
            if not page:
                return
            last = page[-1].id
            ids = [task.id for task in page if _may_be_acted_on(task)]
            left -= len(ids)
            if ids:
                yield ids

    def _set_cron_paused(self, cron_id: str, *, paused: bool, reason: str = "") -> bool:
        for _ in range(_TRIES):
            cron = self._cron(cron_id)
            if cron.paused == paused:
                return False
            changes: dict[str, Any] = {"paused": paused, "pause_reason": reason}
            if not paused:
                # What failed before does not count any more.
                changes["counted_from"] = cron.trigger_times
            if self._storage.edit_cron_task(msgspec.structs.replace(cron, **changes)):
                self._service.hint_cron()
                return True
        raise InvalidArgument("cron", cron_id, "is edited by others all the time; try again")

    def _cron(self, cron_id: str) -> CronTask:
        cron = self._storage.find_cron_task(cron_id)
        if cron is not None:
            return cron
        raise CronNotFound(cron_id)


def _edited(
    task: AsyncTask,
    context: bytes | None,
    options: TaskOptions | None,
    executor: int | str | None,
) -> AsyncTask:
    changes = {"context": context, "options": options, "executor": executor}
    given = {name: value for name, value in changes.items() if value is not None}
    metadata = msgspec.structs.replace(task.metadata, **given)
    metadata.validate()
    return msgspec.structs.replace(
        task,
        metadata=metadata,
        priority=metadata.options.priority if options is not None else task.priority,
        epoch=task.epoch + (task.status is TaskStatus.CREATED),
    )


def _has_failed(task: AsyncTask) -> bool:
    result = task.execute_result
    return result is not None and result.code is ResultCode.FAILED


def _may_be_acted_on(task: AsyncTask) -> bool:
    """Return whether a selected task may change at all: successes never run again."""
    return task.status is not TaskStatus.COMPLETED or _has_failed(task)
