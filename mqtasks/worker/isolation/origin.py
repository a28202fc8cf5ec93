"""What a runner tells its children to import, and which of them it has."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

import msgspec

from mqtasks.config import Settings
from mqtasks.service import TaskService
from mqtasks.worker.isolation.call import IsolatedCall
from mqtasks.worker.isolation.frames import Prepare
from mqtasks.worker.messages import settings_to_dict
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.process_lease import settings_of

CHILD_MODULE: Final = "mqtasks.worker.isolation.child"


class Origin(msgspec.Struct, frozen=True):
    """Where the executors of a runner come from, for processes that have to find them."""

    app: str = ""
    """``MODULE:APP``; empty: each executor is looked for in the module of its function."""
    module: str = CHILD_MODULE
    """What the processes run."""


NO_ORIGIN: Final = Origin()


def check_importable(calls: Iterable[IsolatedCall], origin: Origin) -> None:
    """Raise ConfigError for an executor that another process could not find."""
    if not origin.app:
        for call in calls:
            call.check_importable()


def preparation(
    calls: Iterable[IsolatedCall],
    origin: Origin,
    runner_id: str,
    service: TaskService,
    options: RunnerOptions,
) -> Prepare:
    """Return what a child is told first; anew for each, as the database's address may change."""
    modules = () if origin.app else tuple(sorted({call.module for call in calls}))
    url = service.storage.url
    settings: Settings | None = None
    if url is not None:
        settings = settings_of(service, options, url)
    return Prepare(
        origin.app,
        modules,
        tuple(sys.path),
        settings_to_dict(settings) if settings is not None else None,
        runner_id,
        options.log.name,
        service.max_payload_bytes,
    )
