"""A site of real processes: schedulers and workers started by the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

ROOT: Final = Path(__file__).parents[2]
APP: Final = "tests.e2e.shop:app"


class Site:
    """Starts ``mqtasks`` processes on one database and ends them all. One per test.

    Every process leads a process group of its own, so that `kill` takes a worker's whole tree, as
    the loss of a machine would.
    """

    def __init__(
        self, folder: Path, url: str, redis: str | None = None, **settings: object
    ) -> None:
        """Run on ``url``; ``settings`` become MQTASKS_* variables of every process."""
        self.folder: Final = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environment: Final = {
            **os.environ,
            "MQTASKS_URL": url,
            "MQTASKS_LOG_LEVEL": "info",
            "SHOP_FOLDER": str(folder),
            "PYTHONPATH": str(ROOT),
            **({"MQTASKS_REDIS": redis} if redis else {}),
            **{f"MQTASKS_{key.upper()}": str(value) for key, value in settings.items()},
        }

    def start(self, *arguments: str, **settings: object) -> subprocess.Popen[bytes]:
        """Start ``mqtasks <arguments>``; its output goes to a log file of this test."""
        log = self.folder / f"process-{len(self.processes)}-{arguments[0]}.log"
        environment = {
            **self.environment,
            **{f"MQTASKS_{key.upper()}": str(value) for key, value in settings.items()},
        }
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "mqtasks", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self.folder,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def scheduler(self, **settings: object) -> subprocess.Popen[bytes]:
        """Start a scheduler."""
        return self.start("scheduler", **settings)

    def worker(
        self, runner_id: str, *arguments: str, **settings: object
    ) -> subprocess.Popen[bytes]:
        """Start a worker of the shop."""
        return self.start("worker", APP, "--runner-id", runner_id, *arguments, **settings)

    def signal_tree(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        """Send a signal to every process of a tree at once."""
        os.killpg(process.pid, number)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL a whole tree, as the loss of its machine would, and reap it."""
        self.signal_tree(process, signal.SIGKILL)
        process.wait(10)

    def stop(self, process: subprocess.Popen[bytes], timeout: float = 30) -> int:
        """Stop one process gracefully and return its exit code."""
        process.terminate()
        return process.wait(timeout)

    def logs(self) -> str:
        """Return what every process has printed so far, for messages of failed tests."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-4000:]}"
            for path in sorted(self.folder.glob("process-*.log"))
        )

    def close(self) -> None:
        """End everything that still runs."""
        for process in self.processes:
            if process.poll() is None:
                for number in (signal.SIGCONT, signal.SIGKILL):
                    try:
                        os.killpg(process.pid, number)
                    except ProcessLookupError:
                        break
                process.wait(10)


@contextmanager
def open_site(
    folder: Path, url: str, redis: str | None = None, **settings: object
) -> Iterator[Site]:
    """Yield a site and end its processes; on failure their logs are in the test's output."""
    site = Site(folder, url, redis, **settings)
    try:
        yield site
    except BaseException:
        print(site.logs())  # noqa: T201 - pytest shows it with the failure
        raise
    finally:
        site.close()


def eventually(probe: Callable[[], T | None], timeout: float, what: str, every: float = 0.05) -> T:
    """Return the first true answer of ``probe``; fail naming ``what`` after ``timeout`` seconds.

    For what other processes do, where no event of this process could tell.
    """
    pause = threading.Event()
    rounds = max(1, int(timeout / every))
    for _ in range(rounds):
        answer = probe()
        if answer:
            return answer
        pause.wait(every)
    msg = f"not within {timeout:g} s: {what}"
    raise AssertionError(msg)


def report(figure: str) -> None:
    """Say a measured figure; ``pytest -rP`` shows it. Nothing is asserted about time."""
    print(figure)  # noqa: T201 - pytest captures it
