"""The demo on real servers and real processes, some of which are killed half-way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from mqtasks.clock import SystemClock
from mqtasks.config import Settings
from mqtasks.demo.stages import Stage
from mqtasks.demo.tasks import app
from mqtasks.errors import MQTasksError
from mqtasks.loop import Wake
from mqtasks.process.guarded import GuardedProcess
from mqtasks.process.servers import MariaDBServer, RedisServer
from mqtasks.runtime import Runtime
from mqtasks.scheduler.leader import LEASE_NAME
from mqtasks.storage import migrate

_MEMBERS: Final = 2
_START_TIMEOUT: Final = 30.0
# Short, so that what is killed is replaced within seconds; twice as long would still end in time.
_LIVENESS: Final[dict[str, Any]] = {
    "heartbeat_interval": 1.0,
    "heartbeat_timeout": 4.0,
    "leader_ttl": 2.0,
    "leader_renew": 0.5,
    "parallelism": 4,
}


class Fleet:
    """Two schedulers and two workers, started as a user would."""

    title = "private MariaDB and Redis, two schedulers and two workers"

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.schedulers = [self._start(f"scheduler-{n}", "scheduler") for n in range(_MEMBERS)]
        self.workers = [
            self._start(f"worker-{n}", "worker", "mqtasks.demo.tasks:app", "--runner-id", f"w{n}")
            for n in range(_MEMBERS)
        ]

    def _start(self, name: str, *arguments: str) -> GuardedProcess:
        config = str(self.folder / "mqtasks.toml")
        command = [sys.executable, "-m", "mqtasks", "--config", config, *arguments]
        process = GuardedProcess(command, self.folder / f"{name}.log")
        self._stack.callback(process.stop, 10.0)
        return process

    def wait_until_ready(self) -> None:
        """Return when both workers have registered and a scheduler leads.

        Raises MQTasksError, with the end of a log, if that takes too long.
        """
        storage, clock, pause = app.service.storage, SystemClock(), Wake()
        deadline = clock.monotonic() + _START_TIMEOUT
        while len(storage.runners()) < _MEMBERS or storage.lease(LEASE_NAME) is None:
            for process in (*self.schedulers, *self.workers):
                if not process.running or clock.monotonic() > deadline:
                    raise MQTasksError(
                        f"{process.log.stem} did not start; its log:\n{process.tail()}"
                    )
            pause.wait(0.1)

    def half_way(self) -> list[str]:
        """Kill the first worker with all its processes, and the leading scheduler."""
        said = []
        victim = self.workers[0]
        count = kill_tree(victim.pid)
        said.append(f"killed worker {victim.pid} and its {count - 1} child processes (SIGKILL)")
        lease = app.service.storage.lease(LEASE_NAME)
        leader = _pid_of(lease.holder) if lease is not None else 0
        for scheduler in self.schedulers:
            if scheduler.pid == leader:
                scheduler.kill()
                said.append(f"killed the leading scheduler {leader} (SIGKILL)")
        return said


@contextmanager
def fleet() -> Iterator[Stage]:
    """Start servers, schema, schedulers and workers; end all of them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mqtasks-demo-")))
        mariadb = stack.enter_context(MariaDBServer.start())
        redis = stack.enter_context(RedisServer.start())
        values = {"url": mariadb.create_database("demo"), "redis": redis.url(), **_LIVENESS}
        _write_config(folder / "mqtasks.toml", values)
        app.configure(Settings(**values))
        stack.callback(app.close)
        with Runtime.open(app.settings, check_schema=False) as runtime:
            migrate.up(runtime.storage)
        place = Fleet(folder, stack)
        place.wait_until_ready()
        yield place


def kill_tree(root: int) -> int:
    """Kill a process and its descendants with SIGKILL, parents first; return how many."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(entry.path, "stat").read_text(errors="replace").rpartition(")")[2]
                children[int(fields.split()[1])].append(int(entry.name))
    family = [root]
    for pid in family:
        family += children[pid]
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(family)


def _pid_of(holder: str) -> int:
    """Return the pid in a holder's name: ``<host>-<pid>-<random>``."""
    return int(holder.rsplit("-", 2)[1])


def _write_config(path: Path, settings: dict[str, Any]) -> None:
    """Write a settings file that only we can read: it holds a password."""
    path.touch(mode=0o600)
    # JSON's text and numbers are TOML's, too.
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
    path.write_text("".join(lines), encoding="utf-8")
