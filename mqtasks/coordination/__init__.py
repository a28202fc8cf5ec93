"""Hints and liveness, in one process or over Redis. Unaware of storage, and never the truth.

Names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mqtasks.coordination.base import (
        Coordination,
        Heartbeats,
        Notifier,
        RunnerBeat,
        Subscription,
        TaskBeat,
    )
    from mqtasks.coordination.factory import coordination_from_url
    from mqtasks.coordination.keys import DEFAULT_NAMESPACE, Keys
    from mqtasks.coordination.local import LocalHeartbeats, LocalNotifier, local_coordination

__all__ = [
    "DEFAULT_NAMESPACE",
    "Coordination",
    "Heartbeats",
    "Keys",
    "LocalHeartbeats",
    "LocalNotifier",
    "Notifier",
    "RunnerBeat",
    "Subscription",
    "TaskBeat",
    "coordination_from_url",
    "local_coordination",
]

_MODULES = {
    "DEFAULT_NAMESPACE": "keys",
    "Coordination": "base",
    "Heartbeats": "base",
    "Keys": "keys",
    "LocalHeartbeats": "local",
    "LocalNotifier": "local",
    "Notifier": "base",
    "RunnerBeat": "base",
    "Subscription": "base",
    "TaskBeat": "base",
    "coordination_from_url": "factory",
    "local_coordination": "local",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
