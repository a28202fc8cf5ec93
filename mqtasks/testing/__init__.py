"""Testing an application's tasks: without servers, threads or waiting.

Names are loaded when they are first used, because pytest imports this package at each start.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mqtasks.clock import ManualClock
    from mqtasks.testing.crash import CRASH_POINTS, Crash
    from mqtasks.testing.expect import Enqueued
    from mqtasks.testing.explore import every_crash_point
    from mqtasks.testing.modes import inline, manual
    from mqtasks.testing.report import DrainReport, Ran, Scheduled, Stuck
    from mqtasks.testing.tester import TaskTester

_HOME_OF = {
    "CRASH_POINTS": "mqtasks.testing.crash",
    "Crash": "mqtasks.testing.crash",
    "DrainReport": "mqtasks.testing.report",
    "Enqueued": "mqtasks.testing.expect",
    "ManualClock": "mqtasks.clock",
    "Ran": "mqtasks.testing.report",
    "Scheduled": "mqtasks.testing.report",
    "Stuck": "mqtasks.testing.report",
    "TaskTester": "mqtasks.testing.tester",
    "every_crash_point": "mqtasks.testing.explore",
    "inline": "mqtasks.testing.modes",
    "manual": "mqtasks.testing.modes",
}

__all__ = [
    "CRASH_POINTS",
    "Crash",
    "DrainReport",
    "Enqueued",
    "ManualClock",
    "Ran",
    "Scheduled",
    "Stuck",
    "TaskTester",
    "every_crash_point",
    "inline",
    "manual",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home on first use."""
    home = _HOME_OF.get(name)
    if home is None:
        msg = f"module 'mqtasks.testing' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
