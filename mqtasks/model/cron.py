"""Cron tasks: definitions that create async tasks on a schedule."""

from __future__ import annotations

import msgspec

from mqtasks.model.task import TaskMetadata


class CronTask(msgspec.Struct, frozen=True, kw_only=True):
    """A definition that creates one async task per firing. Times: unix ms, database clock."""

    id: int = 0
    metadata: TaskMetadata
    """``metadata.id`` names the definition; firing n creates the task ``"<id>:<n>"``."""
    cron_expr: str
    timezone: str = "UTC"
    next_time: int = 0
    """When it fires next."""
    trigger_times: int = 0
    """How often it has fired; never restarts, also not when the definition is added again."""
    version: int = 0
    """Raised by every edit; a trigger decided on an older version is refused."""
    paused: bool = False
    created_at: int = 0
    updated_at: int = 0


def firing_id(cron_id: str, trigger_times: int) -> str:
    """Return the metadata id of the n-th firing of a cron task; n counts from 1."""
    return f"{cron_id}:{trigger_times}"
