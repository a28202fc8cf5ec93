"""Where the view gets its snapshots: one connection for each process."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from mqtasks.clock import Clock, SystemClock
from mqtasks.config import Settings
from mqtasks.errors import MQTasksError
from mqtasks.rq.readonly import ViewError
from mqtasks.rq.snapshot import CAP, Snapshot, take_snapshot
from mqtasks.runtime import Runtime

MAX_AGE: Final = 0.5
"""Seconds for which a snapshot serves every question, so that one screen shows one moment."""

_log = logging.getLogger("mqtasks.rq")


class SnapshotSource:
    """Connects when first asked, as the settings say, and keeps the latest snapshot.

    Safe to use from many threads. In a forked child it connects anew.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Final = clock or SystemClock()
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._latest: Snapshot | None = None
        self._taken = 0.0
        self._warned = False

    def snapshot(self) -> Snapshot:
        """Return a snapshot no older than `MAX_AGE`. Raises ViewError."""
        with self._lock:
            now = self._clock.monotonic()
            latest = self._latest
            if latest is None or now - self._taken >= MAX_AGE:
                latest = self._latest = self._take()
                self._taken = now
            return latest

    def close(self) -> None:
        """Disconnect. May be called twice; `snapshot` connects again."""
        with self._lock:
            runtime, self._runtime, self._latest = self._runtime, None, None
        if runtime is not None:
            runtime.close()

    def forget(self) -> None:
        """Start anew without disconnecting: the connections are those of the parent process."""
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self._runtime = self._latest = None

    def _take(self) -> Snapshot:
        try:
            runtime = self._runtime
            if runtime is None:
                runtime = self._runtime = _open()
            snapshot = take_snapshot(runtime.service)
        except MQTasksError as error:
            raise ViewError(str(error)) from error
        if snapshot.capped and not self._warned:
            self._warned = True
            _log.warning("counts are of the first %d tasks of each status; there are more", CAP)
        return snapshot


def _open() -> Runtime:
    settings = Settings.load()
    scheme, _, path = settings.url.partition(":///")
    # Opening an SQLite storage makes its file, which is not for somebody who only looks.
    if scheme == "sqlite" and not Path(unquote(path)).expanduser().exists():
        raise ViewError(
            f"url={settings.url!r} ({settings.origins['url']}): there is no such file here; set"
            " MQTASKS_URL to the database that the workers use"
        )
    runtime = Runtime.open(settings)
    if not runtime.storage.capabilities.cross_process:
        runtime.close()
        raise ViewError(
            "MQTASKS_URL names a storage that lives in one process, so nothing of it can be seen"
            " here: name the MySQL database or SQLite file that the workers use"
        )
    return runtime


SOURCE: Final = SnapshotSource()
"""The one of this process."""

atexit.register(SOURCE.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SOURCE.forget)
