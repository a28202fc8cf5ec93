"""A database with tasks in each state and runners in each state, and rq pointed at it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mqtasks.clock import ManualClock
from mqtasks.model import RunnerRecord, RunnerState
from mqtasks.rq.source import SOURCE
from mqtasks.storage.sqlite import SQLiteTaskStorage
from tests.support.stage import FAILURE, Stage

ROOT = Path(__file__).parents[2]
RQ = Path(sys.executable).with_name("rq")
"""The unmodified command of the installed version."""
NOWHERE = "redis://127.0.0.1:1/0"
"""A port that nothing listens on."""

Rq = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only what the test sets; the view of this process connects anew."""
    for name in [name for name in os.environ if name.startswith(("MQTASKS_", "RQ_", "REDIS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MQTASKS_URL", f"sqlite:///{tmp_path / 'tasks.db'}")
    monkeypatch.setenv("RQ_REDIS_URL", NOWHERE)
    monkeypatch.setenv("RQ_QUEUE_CLASS", "mqtasks.rq.view.QueueView")
    monkeypatch.setenv("RQ_WORKER_CLASS", "mqtasks.rq.view.WorkerView")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    SOURCE.close()
    yield
    SOURCE.close()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Stage]:
    """An empty database that the view reads."""
    with contextlib.closing(SQLiteTaskStorage(tmp_path / "tasks.db")) as storage:
        yield Stage(storage, ManualClock())


@pytest.fixture
def stage(empty: Stage) -> Stage:
    """Tasks and runners in each state."""
    return filled(empty)


def filled(empty: Stage) -> Stage:
    """Put tasks and runners in each state into an empty database; return it."""
    storage = empty.storage
    empty.register("r1", executors=("mail", "0000000007"), host="alpha", pid=101)
    empty.register("r2", executors=("mail",), host="beta", pid=102)
    empty.register("r3", executors=("report",), host="gamma", pid=103)
    empty.register("r4", executors=("gone",), host="delta", pid=104)
    storage.set_runner_state("r3", 1, RunnerState.DRAINING)
    storage.set_runner_state("r4", 1, RunnerState.STOPPED)
    storage.register_runner(RunnerRecord(id="r5", executors=("mail",), host="eps", pid=105), 0, 3)

    empty.create("created 1", "created 2", executor="mail")
    empty.create("scheduled", executor="mail", delay_duration=3600)
    started = empty.running("ok", "ok 2", "ok 3", "bad", "running", "asked", executor="mail")
    empty.complete(started[:3])
    empty.complete(started[3:4], FAILURE)
    storage.cancel_many([started[5].task_id, *empty.create("canceled", executor="mail")])
    empty.create("seven", executor=7)
    return empty


@pytest.fixture
def rq(tmp_path: Path) -> Rq:
    """Run the rq command of this environment, unmodified, and return what it did."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(RQ), *arguments],
            env={**os.environ, "COLUMNS": "80", **environ},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    return run
