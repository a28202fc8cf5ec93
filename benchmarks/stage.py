"""Private servers, a fresh database, and real ``mqtasks`` processes on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks import counting, machine
from benchmarks.apps import LOG_VARIABLE
from mqtasks.app import MQTasks
from mqtasks.config import Settings
from mqtasks.process.guarded import GuardedProcess
from mqtasks.process.servers import MariaDBServer, RedisServer

_ROOT = Path(__file__).resolve().parent.parent
# As a server is set up for work: more memory than the rows here need, so that reads do not wait for
# a disk, and a redo log that does not fill up (64 MiB hold the changes of 13,000 tasks).
_MARIADB = ("--innodb-buffer-pool-size=512M", "--innodb-log-file-size=1G")


class Stage:
    """What one measurement runs on; everything ends and is deleted when it is left."""

    def __init__(self, storage: str, *, redis: bool = True) -> None:
        self._stack = ExitStack()
        try:
            self._set_up(storage, redis=redis)
        except BaseException:
            self._stack.close()
            raise

    def _set_up(self, storage: str, *, redis: bool) -> None:
        self.storage = storage
        # The rows are on a disk, the counts in memory: they shall not wait for that disk.
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        memory = tempfile.mkdtemp(prefix="mqtasks-bench-", dir=counting.memory_folder())
        self._stack.callback(shutil.rmtree, memory, ignore_errors=True)
        self.log = Path(memory) / "executions"
        self.mariadb: MariaDBServer | None = None
        if storage == "mysql":
            self.mariadb = self._stack.enter_context(MariaDBServer.start(options=_MARIADB))
            self.url = self.mariadb.create_database("bench")
        else:
            self.url = f"sqlite:///{self.folder / 'tasks.db'}"
        self.redis_url = None
        if redis:
            self.redis_url = self._stack.enter_context(RedisServer.start()).url()
        self.environment = {
            "MQTASKS_URL": self.url,
            "MQTASKS_REDIS": self.redis_url or "",
            LOG_VARIABLE: str(self.log),
        }
        os.environ.update(self.environment)  # for the processes that are started from here
        self.command("migrate", "up")

    def app(self) -> MQTasks:
        """Return the measured application, connected from this process."""
        from benchmarks.apps import app

        app.configure(Settings.load(url=self.url, redis=self.redis_url))
        self._stack.callback(app.close)
        return app

    def command(self, *arguments: str) -> str:
        """Run one mqtasks command to its end and return its output."""
        result = subprocess.run(
            [sys.executable, "-m", "mqtasks", *arguments],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            sys.exit(f"mqtasks {' '.join(arguments)} failed:\n{result.stderr}")
        return result.stdout

    def start(self, name: str, *arguments: str) -> GuardedProcess:
        """Start one long-running mqtasks command; it is stopped with the stage."""
        log = self.folder / f"{name}.log"
        process = GuardedProcess([sys.executable, "-m", "mqtasks", *arguments], log)
        self._stack.callback(process.stop, 10.0)
        return process

    def start_fleet(self, *worker: str, scheduler: tuple[str, ...] = ()) -> None:
        """Start a scheduler and a worker, and wait until the worker's runner is registered."""
        self.start("scheduler", "scheduler", *scheduler)
        self.start("worker", "worker", "benchmarks.apps:app", *worker)
        service = self.app().service
        self.wait(
            lambda: any(runner.lease_remaining_ms > 0 for runner in service.storage.runners()),
            30,
            "the worker to register",
        )

    def wait(self, reached: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until ``reached()``; give up with the logs after ``seconds``."""
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                logs = "".join(
                    f"\n== {path.name}\n{path.read_text(errors='replace')[-3000:]}"
                    for path in sorted(self.folder.glob("*.log"))
                )
                sys.exit(f"waited {seconds:g} s in vain for {what}{logs}")
            time.sleep(0.02)

    def describe(self) -> dict[str, Any]:
        """Return what the figures depend on."""
        return machine.describe(servers=self.storage == "mysql")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
