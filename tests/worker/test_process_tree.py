"""P8, P14: real processes that are killed, stopped, and told to stop."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mqtasks.errors import ConfigError, MQTasksError, StorageUnavailable
from mqtasks.model import (
    SUCCESS,
    AttemptOutcome,
    ResultCode,
    RunnerRecord,
    RunnerState,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
)
from mqtasks.scheduler import Scheduler, SchedulerOptions
from mqtasks.service import TaskService
from mqtasks.storage.factory import storage_from_url
from mqtasks.worker import RunnerOptions, TaskRunner
from mqtasks.worker.process_lease import ProcessLease
from mqtasks.worker.supervisor import Supervisor
from tests.support.history import gaps
from tests.support.site import ROOT, Site, eventually, open_site

APP = "tests.worker.tree_app:app"
QUICK = {"heartbeat_interval": 0.3, "heartbeat_timeout": 1.5, "parallelism": 2}
PATIENT = {"heartbeat_interval": 0.3, "heartbeat_timeout": 60.0, "parallelism": 2}
"""So long a lease that nothing moves because of it."""
RETRIED = TaskOptions(max_retry_times=5)


class Tree:
    """One ``mqtasks worker`` on an SQLite file, fed by hand: no scheduler helps."""

    def __init__(self, site: Site, service: TaskService, *arguments: str, **settings) -> None:
        self.service = service
        self.storage = service.storage
        self.process = site.start("worker", APP, "--runner-id", "w", *arguments, **settings)

    def runner(self, generation: int = 1, runner_id: str = "w") -> RunnerRecord:
        """Return the runner row once it is active in that generation, or a later one."""

        def probe() -> RunnerRecord | None:
            for row in self.storage.runners():
                if row.id == runner_id and row.generation >= generation:
                    return row if row.state is RunnerState.ACTIVE else None
            return None

        row = eventually(probe, 20, f"runner {runner_id} in generation {generation}")
        assert row is not None
        return row

    def give(self, code: str, count: int = 1, runner_id: str = "w") -> list[int]:
        start = len(self.storage.query())
        ids = self.service.create_batch(
            [TaskMetadata(f"{code}-{start + n}", code) for n in range(count)]
        )
        for task in self.storage.load(ids):
            self.service.allocate(task, runner_id)
        return ids

    def marked(self, *ids: int) -> None:
        """Wait until storage knows that these have run for an interval."""
        eventually(lambda: all(task.started_at for task in self.storage.load(ids)), 20, "tasks run")

    def status(self, task_id: int) -> TaskStatus:
        return self.storage.load([task_id])[0].status

    def ended(self, task_id: int, timeout: float = 20) -> None:
        eventually(lambda: self.status(task_id).is_final, timeout, f"task {task_id} ends")

    def created(self, *ids: int, timeout: float = 20) -> None:
        eventually(
            lambda: all(t.status is TaskStatus.CREATED for t in self.storage.load(ids)),
            timeout,
            "tasks are back",
        )


@pytest.fixture
def service(sqlite_url: str) -> Iterator[TaskService]:
    with TaskService(storage_from_url(sqlite_url)) as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str) -> Iterator[Site]:
    with open_site(tmp_path, sqlite_url, shutdown_timeout=20) as made:
        yield made


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


# -- mqtasks worker ------------------------------------------------------------------------------


def test_p14_a_killed_child_is_reported_at_once_and_only_what_ran_is_charged(site, service):
    tree = Tree(site, service, **PATIENT)
    child = tree.runner().pid
    running = tree.give("hold", 2)
    waiting = tree.give("pid", 3)
    tree.marked(*running)
    os.kill(child, signal.SIGKILL)
    tree.created(*running, *waiting)  # the lease would have lasted for a minute
    assert [t.crashes for t in service.storage.load(running)] == [1, 1]
    assert [t.crashes for t in service.storage.load(waiting)] == [0, 0, 0]
    [[crashed], [lost]] = [service.attempts(t) for t in (running[0], waiting[0])]
    assert (crashed.outcome, lost.outcome) == (AttemptOutcome.CRASHED, AttemptOutcome.LOST)
    assert "of its runner was ended by SIGKILL" in crashed.error
    assert lost.error == crashed.error
    row = tree.runner(generation=2)
    assert row.pid != child
    (again,) = tree.give("pid")
    tree.ended(again)
    assert site.stop(tree.process) == 0


def test_m10_a_task_that_ends_its_process_fails_after_max_crashes_and_burns_no_attempt(
    site, service
):
    tree = Tree(site, service, **PATIENT, max_crashes=1)
    tree.runner()
    with Scheduler(service, SchedulerOptions(max_crashes=1)):
        (leave,) = service.create_batch([TaskMetadata("leave", "leave", b"", RETRIED)])
        tree.ended(leave, timeout=60)
        neighbours = service.create_batch([TaskMetadata(f"n{n}", "pid") for n in range(3)])
        for task_id in neighbours:
            tree.ended(task_id, timeout=60)
    task = service.get(leave)
    assert task.execute_result.code is ResultCode.FAILED
    assert (task.crashes, task.attempt) == (2, 0)
    assert [a.outcome for a in service.attempts(leave)] == [AttemptOutcome.CRASHED] * 2
    assert gaps(service.storage) == {}


def limited(tree: Tree, code: str, count: int = 1) -> list[int]:
    """Give tasks that have half a second."""
    ids = tree.service.create_batch(
        [TaskMetadata(f"{code}-{n}", code, b"", TaskOptions(timeout=0.5)) for n in range(count)]
    )
    for task in tree.storage.load(ids):
        tree.service.allocate(task, "w")
    return ids


def test_m11_a_process_whose_interpreter_a_late_task_keeps_is_killed(site, service):
    """No thread of it can do anything, so its parent does; the lease never lapsed."""
    tree = Tree(site, service, **PATIENT)
    child = tree.runner().pid
    (hog,) = limited(tree, "hog")
    tree.created(hog)
    assert gone(child)
    assert service.get(hog).crashes == 1
    assert tree.runner(generation=2).pid != child
    assert "keeps the interpreter to itself" in site.logs()


def test_m11_a_process_whose_threads_are_all_lost_is_replaced_in_order(site, service):
    tree = Tree(site, service, **PATIENT)
    child = tree.runner().pid
    stuck = limited(tree, "stubborn", 2)
    for task_id in stuck:
        tree.ended(task_id)
    row = tree.runner(generation=2)
    assert row.pid != child
    for task in service.storage.load(stuck):
        (attempt,) = service.attempts(task.id)
        assert attempt.outcome == AttemptOutcome.TIMED_OUT
        assert "in stubborn" in attempt.traceback
        assert task.crashes == 0
    (again,) = tree.give("pid")
    tree.ended(again)
    assert "are lost in tasks" in site.logs()


def test_p14_a_killed_parent_takes_its_children_along(site, service):
    tree = Tree(site, service, **QUICK)
    child = tree.runner().pid
    (held,) = tree.give("hold")
    tree.process.kill()
    tree.process.wait(10)
    eventually(lambda: gone(child), 10, "the child is gone")
    assert tree.status(held) is TaskStatus.RUNNING  # until its lease lapses
    eventually(lambda: tree.storage.runners()[0].lease_remaining_ms <= 0, 10, "the lease lapses")


def test_p14_a_stopped_child_is_killed_and_reported(site, service):
    tree = Tree(site, service, **QUICK)
    child = tree.runner().pid
    (held,) = tree.give("hold")
    tree.marked(held)
    os.kill(child, signal.SIGSTOP)
    tree.created(held)
    assert gone(child)
    assert tree.runner(generation=2).pid != child


def test_a_first_signal_lets_tasks_finish_and_a_second_cancels_them(site, service):
    tree = Tree(site, service, "--processes", "2", **PATIENT)
    for n in (1, 2):
        tree.runner(runner_id=f"w-{n}")
    running = tree.give("hold", 2, "w-1")
    waiting = tree.give("pid", 3, "w-1")
    tree.marked(*running)
    tree.process.terminate()
    tree.created(*waiting)
    assert {tree.status(t) for t in running} == {TaskStatus.RUNNING}
    tree.process.terminate()
    assert tree.process.wait(20) == 0
    for task in service.storage.load(running):
        assert (task.status, task.attempt, task.crashes) == (TaskStatus.CREATED, 0, 0)
        assert [item.error for item in service.attempts(task.id)] == ["shutdown"]
    assert {row.state for row in service.storage.runners()} == {RunnerState.STOPPED}


def test_signals_to_the_whole_group_do_not_disturb_an_orderly_stop(site, service):
    tree = Tree(site, service, **PATIENT)
    tree.runner()
    (held,) = tree.give("hold")
    tree.marked(held)
    site.signal_tree(tree.process, signal.SIGINT)
    eventually(lambda: tree.storage.runners()[0].state is RunnerState.DRAINING, 20, "it drains")
    site.signal_tree(tree.process, signal.SIGINT)
    assert tree.process.wait(20) == 0
    assert tree.status(held) is TaskStatus.CREATED, "given back, as it saw the cancellation"


def test_a_third_signal_ends_everything_at_once(site, service):
    tree = Tree(site, service, **PATIENT)
    child = tree.runner().pid
    (held,) = tree.give("stubborn")
    tree.marked(held)
    for state in ("hands", "canceled", ""):
        tree.process.terminate()
        if state == "hands":
            eventually(
                lambda: tree.storage.runners()[0].state is RunnerState.DRAINING, 20, "it drains"
            )
        elif state:
            eventually(lambda: "canceled" in site.logs(), 20, "the second stage")
    assert tree.process.wait(10) == 1
    assert gone(child)


# -- an embedded runner ----------------------------------------------------------------------------


def embedded(service: TaskService, **options) -> TaskRunner:
    return TaskRunner("e", service, RunnerOptions(**(QUICK | options)))


def allocated(service: TaskService, code: str, runner_id: str = "e") -> int:
    task_id = service.create(TaskMetadata(f"{code}-{len(service.storage.query())}", code))
    service.allocate(service.get(task_id), runner_id)
    return task_id


def hog(_ctx, _task) -> None:
    """Hold the interpreter in one C call for longer than the lease: PyDLL does not let go of it."""
    ctypes.PyDLL(None).usleep(2_500_000)


def renewed(runner: TaskRunner) -> None:
    """Wait until the lease process has renewed the lease once more."""
    board = runner._parts.board  # type: ignore[union-attr]
    until = board.trusted_until
    eventually(lambda: board.trusted_until > until, 10, "the lease is renewed")


def test_p14_a_long_c_call_keeps_its_lease(service):
    runner = embedded(service)
    runner.register_executor("hog", hog)
    with runner:
        lease = runner._lease
        assert isinstance(lease, ProcessLease)
        renewed(runner)
        task_id = allocated(service, "hog")
        eventually(lambda: service.get(task_id).status.is_final, 20, "the call ends")
        assert runner.generation == 1
        task = service.get(task_id)
    assert task.execute_result == SUCCESS
    assert task.completed_at - task.started_at >= 2500  # and the lease is 1.5 s
    assert service.attempts(task_id) == []


def test_p14_a_lease_process_that_dies_is_replaced(service):
    runner = embedded(service)
    runner.register_executor("hog", hog)
    with runner:
        lease = runner._lease
        assert isinstance(lease, ProcessLease)
        first = lease.pid
        os.kill(first, signal.SIGKILL)
        eventually(lambda: lease.pid not in {0, first}, 10, "another one is started")
        renewed(runner)
        assert runner.generation == 1


@pytest.mark.parametrize("database", ["sqlite_url", "mysql_url"])
def test_p14_a_killed_program_with_a_runner_is_reported_by_its_lease_process(request, database):
    url = request.getfixturevalue(database)
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("embedded.py")), url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with TaskService(storage_from_url(url)) as service:
        try:
            eventually(service.storage.runners, 20, "the runner is there")
            task_id = allocated(service, "hold", "embedded")
            eventually(lambda: service.get(task_id).started_at, 20, "the task runs")
        finally:
            process.kill()
            process.wait(10)
        eventually(lambda: service.get(task_id).status is TaskStatus.CREATED, 10, "it is back")
        assert service.get(task_id).crashes == 1
        assert service.storage.runners()[0].state is RunnerState.STOPPED


def test_the_runner_process_keeps_no_child_after_stop(service):
    runner = embedded(service)
    runner.register_executor("hog", hog)
    runner.start()
    lease = runner._lease
    assert isinstance(lease, ProcessLease)
    pid = lease.pid
    runner.stop()
    assert gone(pid)
    assert service.storage.runners()[0].state is RunnerState.STOPPED


def test_p2_waiting_for_the_lease_of_an_earlier_holder_is_told(service, caplog):
    caplog.set_level(logging.INFO, "mqtasks.worker")
    earlier = RunnerRecord(id="e", holder="earlier", host="elsewhere", pid=4711)
    service.storage.register_runner(earlier, 1_500, 3)
    runner = embedded(service, heartbeat="thread")
    runner.register_executor("hog", hog)
    with runner:
        assert runner.generation == 2
    told = [record for record in caplog.records if "waits for" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.INFO]
    text = told[0].getMessage()
    assert "'e': is alive at elsewhere (process 4711)" in text
    match = re.search(r"([0-9.]+) s at most", text)
    assert match is not None
    assert 0 < float(match[1]) <= 1.6


def test_heartbeat_thread_starts_no_process(service):
    runner = embedded(service, heartbeat="thread")
    runner.register_executor("hog", hog)
    with runner:
        assert not isinstance(runner._lease, ProcessLease)


# -- a worker that cannot start ----------------------------------------------------------------


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
