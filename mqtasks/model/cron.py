"""Cron tasks: definitions that create async tasks on a schedule."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from mqtasks.model.cron_policy import DEFAULT_POLICY, CronPolicy
from mqtasks.model.task import TaskMetadata

NEVER: Final = 253_402_214_400_000
"""`CronTask.next_time` of a definition whose schedule is over: the end of the year 9999."""


class FiringKind(IntEnum):
    """Why a firing happened. The values are stored."""

    SCHEDULED = 0
    MANUAL = 1
    """Somebody asked for it."""
    BACKFILL = 2
    """Somebody asked for the firings of a range of time."""


class FiringState(IntEnum):
    """What a firing did. The values are stored."""

    FIRED = 0
    """It made its task."""
    SKIPPED = 1
    """It was left out, since tasks of earlier firings had not ended."""
    MISSED = 2
    """It was due while nobody triggered, and is not made up for."""


class CronTask(msgspec.Struct, frozen=True, kw_only=True):
    """A definition that creates one async task per firing. Times: unix ms, database clock."""

    id: int = 0
    metadata: TaskMetadata
    """``metadata.id`` names the definition; firing n creates the task ``"<id>:<n>"``."""
    cron_expr: str
    timezone: str = "UTC"
    policy: CronPolicy = DEFAULT_POLICY
    next_time: int = 0
    """When it fires next; `NEVER` if it does not any more."""
    trigger_times: int = 0
    """How often it has fired by its schedule; never restarts, also not when the definition is
    added again."""
    version: int = 0
    """Raised by every edit; a trigger decided on an older version is refused."""
    paused: bool = False
    pause_reason: str = ""
    """Why it is paused, if somebody or something said so."""
    counted_from: int = 0
    """Failures of firings up to this number (`trigger_times` at the last resume) do not count."""
    app: str = ""
    """Name of the application that declares it in code; empty = it was added at runtime."""
    digest: str = ""
    """What the declaration said when it was last brought in, as a hash."""
    created_at: int = 0
    updated_at: int = 0


class CronFiring(msgspec.Struct, frozen=True):
    """One firing as it is recorded. Times: unix ms."""

    kind: FiringKind
    fire_time: int
    """The moment that the schedule names; of a manual firing, when it was asked for."""
    state: FiringState
    task: str
    """Metadata id of the task that it made; empty if none."""
    fired_at: int
    """When it was decided, database clock."""


class NewFiring(msgspec.Struct, frozen=True):
    """A firing beside the schedule: the moment it stands for, and the task it makes."""

    fire_time: int
    task_metadata: TaskMetadata
    run_at: int = 0
    """When the task is due, unix ms; 0 = at once."""


class FiredTask(msgspec.Struct, frozen=True):
    """What became of the task of a firing."""

    task_id: int
    metadata_id: str
    status: int
    failed: bool
    """Whether it has ended as FAILED."""


def firing_id(cron_id: str, trigger_times: int) -> str:
    """Return the metadata id of the n-th firing of a cron task; n counts from 1."""
    return f"{cron_id}:{trigger_times}"


def extra_firing_id(cron_id: str, kind: FiringKind, fire_time: int) -> str:
    """Return the metadata id of the task of a firing beside the schedule; ``fire_time`` unix ms."""
    return f"{cron_id}:{kind.name.lower()}:{fire_time}"


class _Details(msgspec.Struct, frozen=True, omit_defaults=True):
    policy: CronPolicy = DEFAULT_POLICY
    pause_reason: str = ""
    counted_from: int = 0
    app: str = ""
    digest: str = ""


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(_Details).decode


def details_to_bytes(cron: CronTask) -> bytes:
    """Return the stored form of all that has no column of its own: JSON without defaults."""
    return _encode(
        _Details(cron.policy, cron.pause_reason, cron.counted_from, cron.app, cron.digest)
    )


def with_details(cron: CronTask, data: bytes | None) -> CronTask:
    """Return ``cron`` with what `details_to_bytes` stored; None is what an older release left."""
    if not data:
        return cron
    found = _decode(data)
    return msgspec.structs.replace(
        cron, **{k: getattr(found, k) for k in _Details.__struct_fields__}
    )
