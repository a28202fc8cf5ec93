"""Three stop stages, and the stack dump."""

from __future__ import annotations

import logging
import logging.handlers
import os
import queue
import signal
import subprocess
import sys
import threading

import pytest

from mqtasks.process.signals import Stage, StopStages

SOON = 10.0


class Calls:
    """Three callbacks that note their stage, and an event for each."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.events = {name: threading.Event() for name in ("graceful", "hurry", "kill")}

    def __getitem__(self, name):
        def call() -> None:
            self.seen.append(name)
            self.events[name].set()

        return call

    def stages(self) -> StopStages:
        return StopStages(self["graceful"], self["hurry"], self["kill"], name="test")

    def wait(self, name):
        assert self.events[name].wait(SOON), name


def test_each_signal_is_one_stage_and_says_what_the_next_does(caplog):
    calls = Calls()
    with calls.stages() as stages:
        for number, name in [
            (signal.SIGTERM, "graceful"),
            (signal.SIGINT, "hurry"),
            (signal.SIGTERM, "kill"),
        ]:
            signal.raise_signal(number)
            calls.wait(name)
        assert stages.wait(Stage.KILL, SOON)
        signal.raise_signal(signal.SIGTERM)
    assert calls.seen == ["graceful", "hurry", "kill"]
    assert stages.stage is Stage.KILL
    assert [record.getMessage() for record in caplog.records] == [
        "test (SIGTERM) stops; running tasks may finish. Again to cancel them",
        "test (SIGINT) stops now; running tasks are canceled. Again to exit at once",
        "test (SIGTERM) exits at once; the tasks it holds are rescued when its lease lapses",
    ]


def test_a_hanging_graceful_stop_does_not_hold_up_the_next_stages():
    calls, let_go = Calls(), threading.Event()
    with StopStages(lambda: let_go.wait(SOON), calls["hurry"], calls["kill"]):
        for name in ("", "hurry", "kill"):
            signal.raise_signal(signal.SIGTERM)
            if name:
                calls.wait(name)
    let_go.set()


def test_a_failing_stage_is_logged_and_the_next_still_comes():
    calls = Calls()
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    logger = logging.Logger("test")  # noqa: LOG001 - private to this test
    logger.addHandler(logging.handlers.QueueHandler(records))
    with StopStages(lambda: 1 / 0, calls["hurry"], calls["kill"], name="test", logger=logger):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        calls.wait("hurry")
        messages = [records.get(timeout=SOON).getMessage() for _ in range(3)]
    failed = next(message for message in messages if "failed" in message)
    assert failed.startswith("test: stop stage GRACEFUL failed")
    assert "ZeroDivisionError" in failed


def test_previous_handlers_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    stages = Calls().stages()
    stages.install()
    stages.install()
    assert signal.getsignal(signal.SIGTERM) == stages._on_signal
    stages.restore()
    stages.restore()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_signal_counts_though_the_main_thread_does_not_come_to_its_handler():
    """As when the signal came just before the main thread began to wait for a lock."""
    calls = Calls()
    with calls.stages() as stages:
        # The interpreter tells the descriptor at once, and the main thread when it can.
        os.write(signal.set_wakeup_fd(-1), bytes([signal.SIGTERM]))
        assert stages.wait(Stage.GRACEFUL, SOON)


def test_the_wakeup_descriptor_comes_back():
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    with Calls().stages():
        inside = signal.set_wakeup_fd(before)
        assert inside not in {-1, before}
        signal.set_wakeup_fd(inside)
    assert signal.set_wakeup_fd(before) == before


def test_advance_does_what_a_signal_does(caplog):
    calls = Calls()
    with calls.stages() as stages:
        assert stages.wait(Stage.RUNNING, 0)
        assert not stages.wait(Stage.GRACEFUL, 0)
        threading.Thread(target=stages.advance, args=("lease lost",)).start()
        assert stages.wait(Stage.GRACEFUL, SOON)
        calls.wait("graceful")
    assert caplog.records[0].getMessage().startswith("test (lease lost) stops;")
    assert caplog.records[0].levelno == logging.WARNING


def test_outside_the_main_thread_it_is_refused():
    errors = []

    def install() -> None:
        try:
            Calls().stages().install()
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=install)
    thread.start()
    thread.join(SOON)
    assert len(errors) == 1


CHILD = """
import os, sys, threading
from mqtasks.process.signals import StopStages, dump_stacks_on_signal
assert dump_stacks_on_signal() and dump_stacks_on_signal()
def hang(): print("graceful", flush=True); threading.Event().wait()
def hurry(): print("hurry", flush=True)
with StopStages(hang, hurry, lambda: os._exit(3)):
    def where_main_waits(): print("ready", flush=True); threading.Event().wait()
    where_main_waits()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_real_process_goes_through_all_stages_and_dumps_its_stacks():
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=os.getcwd(),  # noqa: PTH109 - the checkout, from which mqtasks is imported
    ) as process:
        assert process.stdout
        assert process.stderr
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGUSR1)
            dump = ""
            while "where_main_waits" not in dump:
                line = process.stderr.readline()
                assert line, dump
                dump += line
            assert "Thread 0x" in dump
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "graceful\n"
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "hurry\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(SOON) == 3
        finally:
            process.kill()


BUSY = """
import os, signal, threading
from mqtasks.process.signals import dump_stacks_on_signal
dump_stacks_on_signal()
def deep(n): return n and deep(n - 1)
def work():
    while True: deep(50)
for _ in range(4): threading.Thread(target=work, daemon=True).start()
for _ in range(200): os.kill(os.getpid(), signal.SIGUSR1)
print("survived")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_dump_of_threads_that_go_on_running_does_no_harm():
    result = subprocess.run(
        [sys.executable, "-c", BUSY],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=50,
        cwd=os.getcwd(),  # noqa: PTH109 - the checkout, from which mqtasks is imported
    )
    assert (result.returncode, result.stdout) == (0, "survived\n")
