"""A worker that cannot start: what is wrong is said once, and what may pass is tried again."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from mqtasks.errors import ConfigError, MQTasksError, StorageUnavailable
from mqtasks.model import (
    RunnerRecord,
    RunnerState,
    TaskMetadata,
)
from mqtasks.worker.supervisor import Supervisor
from tests.support.site import eventually
from tests.worker.tree import APP, PATIENT


def test_an_app_that_cannot_be_imported_is_a_configuration_error():
    with pytest.raises(ConfigError, match="nowhere"):
        Supervisor("tests.worker.nowhere:app").run()


def test_a_database_that_cannot_be_reached_is_told_before_anything_starts():
    url = "mysql://nobody:x@127.0.0.1:1/none"
    with pytest.raises(StorageUnavailable):
        Supervisor(APP, {"url": url}).run()


def test_a_process_that_dies_while_it_imports_is_no_crash_loop(tmp_path, monkeypatch):
    (tmp_path / "deadly.py").write_text("import os\nos._exit(7)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MQTasksError, match="ended with code 7"):
        Supervisor("deadly:app").run()


IDLE_APP = "from mqtasks import MQTasks\n\napp = MQTasks()\n"
BUSY_APP = f"{IDLE_APP}\n\n@app.task\ndef work() -> int:\n    return 7\n"
ONCE_APP = f"""import os

os.close(os.open(os.environ["IMPORTED"], os.O_CREAT | os.O_EXCL))
{BUSY_APP}"""
"""Can be imported by one process only."""


def test_an_app_without_a_task_ends_the_worker(tmp_path, monkeypatch, sqlite_url):
    (tmp_path / "idle.py").write_text(IDLE_APP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ConfigError, match="has no executor"):
        Supervisor("idle:app", {"url": sqlite_url}).run()


def test_what_is_no_app_is_a_configuration_error(tmp_path, monkeypatch):
    (tmp_path / "thing.py").write_text("app = 7\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ConfigError, match="is of type int, not an MQTasks app"):
        Supervisor("thing:app").run()


def test_a_second_process_that_cannot_import_the_app_ends_the_worker(site, service, tmp_path):
    (tmp_path / "once.py").write_text(ONCE_APP)
    site.environment["IMPORTED"] = str(tmp_path / "imported")
    worker = site.start("worker", "once:app", "--runner-id", "w", "--processes", "2", **PATIENT)
    assert worker.wait(30) == 2, "settings, arguments or the app are wrong"
    lines = [line for line in site.logs().splitlines() if line.startswith("mqtasks: ")]
    assert len(lines) == 1
    assert "app='once:app'" in lines[0]
    assert "FileExistsError" in lines[0]
    assert not [row for row in service.storage.runners() if row.state is not RunnerState.STOPPED]


FAULTY_APP = """import os
from pathlib import Path

from mqtasks import MQTasks, StorageUnavailable


class Faulty(MQTasks):
    @property
    def service(self):
        mended = Path(os.environ["MENDED"])
        if mended.exists():
            return super().service
        kind = {"TypeError": TypeError, "StorageUnavailable": StorageUnavailable}
        raise kind[os.environ["RAISED"]]("no such day")


app = Faulty()


@app.task
def work() -> int:
    return 7
"""
"""Can be imported, but no runner can be made of it until MENDED exists."""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_runner_that_cannot_be_made_ends_the_worker(site, service, tmp_path, processes):
    (tmp_path / "faulty.py").write_text(FAULTY_APP)
    site.environment |= {"MENDED": str(tmp_path / "mended"), "RAISED": "TypeError"}
    worker = site.start("worker", "faulty:app", "--runner-id", "w", "--processes", str(processes))
    assert worker.wait(30) == 1
    lines = site.logs().splitlines()
    runner = "w" if processes == 1 else r"w-[12]"
    [line] = [line for line in lines if line.startswith("mqtasks: ")]
    assert re.fullmatch(f"mqtasks: runner {runner} cannot start: TypeError: no such day", line)
    assert len([line for line in lines if line.startswith("Traceback")]) == 1
    assert not any("started again" in line for line in lines)
    assert not [row for row in service.storage.runners() if row.state is RunnerState.ACTIVE]


def test_a_runner_that_an_outage_keeps_from_starting_is_tried_again(site, service, tmp_path):
    (tmp_path / "faulty.py").write_text(FAULTY_APP)
    mended = tmp_path / "mended"
    site.environment |= {"MENDED": str(mended), "RAISED": "StorageUnavailable"}
    worker = site.start("worker", "faulty:app", "--runner-id", "w", **PATIENT)
    said = "cannot go on: no such day; it is started again"
    eventually(lambda: site.logs().count(said) >= 2, 30, "it is tried again")
    assert worker.poll() is None
    assert "Traceback" not in site.logs()
    mended.touch()
    eventually(service.storage.runners, 30, "the runner")
    eventually(lambda: "executors of faulty:app: work\n" in site.logs(), 20, "what it executes")
    assert site.stop(worker) == 0
    assert site.logs().count("executors of ") == 1


def test_an_app_that_a_deployment_broke_is_tried_again_until_it_is_mended(site, service, tmp_path):
    app = tmp_path / "deployed.py"
    app.write_text(BUSY_APP)
    site.environment["PYTHONDONTWRITEBYTECODE"] = "1"
    worker = site.start("worker", "deployed:app", "--runner-id", "w", **PATIENT)

    def running(generation: int) -> RunnerRecord | None:
        rows = service.storage.runners()
        found = bool(rows) and rows[0].generation >= generation
        return rows[0] if found and rows[0].state is RunnerState.ACTIVE else None

    first = eventually(lambda: running(1), 20, "the runner")
    assert first is not None
    app.write_text(IDLE_APP)
    os.kill(first.pid, signal.SIGKILL)
    said = "cannot go on: app='deployed:app' has no task"
    eventually(lambda: site.logs().count(said) >= 2, 30, "it is tried again, and refused again")
    assert worker.poll() is None
    complaint = next(line for line in site.logs().splitlines() if said in line)
    assert "ERROR" in complaint
    assert "it is started again, within 10 s" in complaint
    app.write_text(BUSY_APP)
    eventually(lambda: running(2), 30, "the runner is back")
    (task_id,) = service.create_batch([TaskMetadata("after", "work")])
    service.allocate(service.get(task_id), "w")
    eventually(lambda: service.get(task_id).status.is_final, 20, "it works")
    assert site.stop(worker) == 0


def test_a_start_that_fails_leaves_nothing_open(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no process for you")

    monkeypatch.setattr("mqtasks.worker.runner_process.spawn_module", refuse)
    supervisor = Supervisor(APP)
    before = descriptors()
    with pytest.raises(OSError, match="no process for you"):
        supervisor.run()
    assert descriptors() == before


def test_a_companion_that_fails_leaves_no_connection_open(mysql_url):
    class Broken:
        def start(self) -> None:
            raise LookupError("start")

        def stop(self) -> None:
            raise LookupError("stop")

    supervisor = Supervisor(APP, {"url": mysql_url}, opened=lambda _runtime: [Broken()])
    before = descriptors()
    with pytest.raises(LookupError, match="stop"):
        supervisor.run()
    assert descriptors() == before


def descriptors() -> set[str]:
    """Return what this process has open; each socket and file has its own name."""
    names = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that listed the folder
            names.add(str(link.readlink()))
    return names
