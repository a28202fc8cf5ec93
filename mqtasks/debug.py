"""A process-wide switch that turns the whole task framework off, for debugging."""

from __future__ import annotations

import threading

_disabled = threading.Event()


def debug_ctl_task_framework(disable: bool) -> None:  # noqa: FBT001 - the reference's signature
    """Disable (``True``) or enable (``False``) the task framework in this process.

    While disabled every loop idles and the SQL storages do nothing: writes report that nothing was
    applied and queries return nothing. Safe to call at any time, repeatedly, from any thread.
    """
    if disable:
        _disabled.set()
    else:
        _disabled.clear()


def framework_disabled() -> bool:
    """Return whether the framework is switched off in this process."""
    return _disabled.is_set()
