"""Checks of cron definitions and triggers. The same for all storages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mqtasks.errors import InvalidArgument
from mqtasks.model import (
    CronTask,
    FiringState,
    NewFiring,
    NewTask,
    ResultCode,
    TaskStatus,
    checked_id,
    firing_id,
)
from mqtasks.storage.checks import check_new, checked_number, stored_text
from mqtasks.storage.contract import Trigger
from mqtasks.storage.links import check_unlinked

MAX_REASON: Final = 1000
"""Longest `CronTask.pause_reason`, in letters."""


def check_cron(cron: CronTask) -> None:
    """Raise InvalidArgument for the first field of a definition that no storage would take."""
    cron.metadata.validate()
    checked_id("cron_expr", cron.cron_expr)
    checked_id("timezone", cron.timezone)
    checked_id("app", cron.app, empty=True)
    checked_id("digest", cron.digest, empty=True)
    _check_reason(cron.pause_reason)
    cron.policy.validate()
    for field in ("next_time", "trigger_times", "version", "counted_from", "created_at"):
        checked_number(field, getattr(cron, field))


def _check_reason(reason: object) -> None:
    if not isinstance(reason, str) or len(reason) > MAX_REASON:
        raise InvalidArgument("pause_reason", reason, f"must be text of up to {MAX_REASON} letters")
    if stored_text(reason) is not reason:
        raise InvalidArgument("pause_reason", reason, "has a lone surrogate; pass valid text")


def check_trigger(item: Trigger) -> None:
    """Raise InvalidArgument for the first field of a trigger that no storage would take."""
    checked_number("next_time", item.next_time)
    checked_number("fire_time", item.fire_time)
    if (item.state == FiringState.FIRED) != (item.task is not None):
        raise InvalidArgument("state", item.state, "must be FIRED exactly if there is a task")
    if item.task is not None:
        check_new(item.task)
        check_unlinked(item.task)


def tasks_of(cron: CronTask, firings: Iterable[NewFiring]) -> list[NewTask]:
    """Return the tasks of firings beside the schedule. Raises InvalidArgument."""
    tasks = []
    for item in firings:
        checked_number("fire_time", item.fire_time)
        task = NewTask(item.task_metadata, cron.metadata.id, item.run_at)
        check_new(task)
        tasks.append(task)
    return tasks


def last_ids(cron: CronTask, last: int) -> list[str]:
    """Return the metadata ids of the last scheduled firings, the latest first."""
    times = cron.trigger_times
    return [firing_id(cron.metadata.id, n) for n in range(times, max(0, times - last), -1)]


def has_failed(status: int, result_code: int | None) -> bool:
    """Return whether a task has ended as FAILED."""
    return status == TaskStatus.COMPLETED and result_code == ResultCode.FAILED
