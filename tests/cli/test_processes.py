"""The commands that run until they are told to stop, as processes of their own."""

from __future__ import annotations

import json
import queue
import re
import signal
import subprocess
import sys
import threading

import pytest

APP = """
import threading
from mqtasks import MQTasks

app = MQTasks()

@app.task
def add(a: int, b: int) -> int:
    return a + b

@app.task
def stuck() -> None:
    print("stuck now", flush=True)
    threading.Event().wait()
"""

pytestmark = [pytest.mark.timeout(90), pytest.mark.usefixtures("shop")]


@pytest.fixture
def shop(tmp_path, database):
    (tmp_path / "shop.py").write_text(APP)
    yield
    module = sys.modules.pop("shop", None)  # what `enqueue` has imported into this process
    if module is not None:
        module.app.close()


class Running:
    """A started command; its output is read by a thread, line by line."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mqtasks", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self._output = self.process.stdout
        self.lines: list[str] = []
        self.ended = False
        self._coming: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._output:
            self._coming.put(line)
        self._coming.put(None)

    def until(self, pattern):
        """Return the first line to come that holds a pattern."""
        while (line := self._next(pattern)) is not None:
            self.lines.append(line)
            if re.search(pattern, line):
                return line
        raise AssertionError(f"{pattern!r} did not come: {self.lines}")

    def _next(self, pattern):
        try:
            return self._coming.get(timeout=30)
        except queue.Empty:
            raise AssertionError(f"{pattern!r} did not come in time: {self.lines}") from None

    def tell(self, number):
        self.process.send_signal(number)

    def end(self):
        """Return exit code and all output. Only once: it consumes the output."""
        self.ended = True
        code = self.process.wait(30)
        self._reader.join(30)
        self._output.close()
        while (line := self._coming.get(timeout=30)) is not None:
            self.lines.append(line)
        return code, "".join(self.lines)


@pytest.fixture
def start():
    started = []

    def begin(*arguments):
        started.append(Running(*arguments))
        return started[-1]

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        if not running.ended:
            running.end()


def test_dev_runs_a_task_and_stops_on_the_first_signal(start, mqtasks):
    dev = start("dev", "shop:app")
    dev.until("runner .* started")
    ran = mqtasks("enqueue", "shop:app", "add", "2", "b=3", "--wait", "20")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "5")
    dev.tell(signal.SIGINT)
    code, output = dev.end()
    assert code == 0
    assert "resigned" in output
    assert "Traceback" not in output


def test_a_worker_with_a_scheduler_runs_tasks_in_several_processes(start, mqtasks):
    worker = start(
        *("worker", "shop:app", "--with-scheduler", "--processes", "2", "--runner-id", "w"),
        *("--labels", "zone=a", "--parallelism", "3", "--log-format", "json"),
    )
    worker.until("leads in term")
    for _ in range(2):
        worker.until("runner w-[12] .* started")
    rows = {row["runner"]: row for row in json.loads(mqtasks("runners", "list", "-o", "json").out)}
    assert sorted(rows) == ["w-1", "w-2"]
    assert [(row["labels"], row["parallelism"]) for row in rows.values()] == [
        ({"zone": "a"}, 3)
    ] * 2
    assert mqtasks("runners", "list", "--check").code == 0
    assert mqtasks("enqueue", "shop:app", "add", "2", "3", "--wait", "20").code == 0
    worker.tell(signal.SIGTERM)
    code, output = worker.end()
    assert code == 0
    levels = {json.loads(line)["level"] for line in output.splitlines()}
    assert "info" in levels
    assert "error" not in levels
    assert mqtasks("runners", "list", "--check").code == 4


def test_a_scheduler_resigns_so_that_the_next_one_leads_at_once(start):
    first = start("scheduler")
    first.until("leads in term 1")
    second = start("scheduler")
    first.tell(signal.SIGTERM)
    assert first.end()[0] == 0
    second.until("leads in term 2")
    second.tell(signal.SIGINT)
    assert second.end()[0] == 0


@pytest.mark.parametrize(
    "command", [["dev", "shop:app"], ["worker", "shop:app", "--with-scheduler"]]
)
def test_the_third_signal_ends_at_once_with_1(start, mqtasks, command):
    running = start(*command)
    running.until("runner .* started")
    assert mqtasks("enqueue", "shop:app", "stuck").code == 0
    running.until("stuck now")
    for said in ("running tasks may finish", "cancel", "at once"):
        running.tell(signal.SIGTERM)
        running.until(said)
    assert running.end()[0] == 1


def test_a_stack_dump_on_request(start):
    scheduler = start("scheduler")
    scheduler.until("leads in term")
    scheduler.tell(signal.SIGUSR1)
    scheduler.until("Current thread|Thread 0x")
    scheduler.tell(signal.SIGTERM)
    assert scheduler.end()[0] == 0
