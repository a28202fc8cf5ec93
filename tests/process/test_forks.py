"""Forked copies of a process that handles stop signals take them as any other process does."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, threading, time
from mqtasks.process.signals import Stage, StopStages
from mqtasks.worker.parent import ignore_stop_signals

def nothing():
    pass

stages = None
if {staged}:
    stages = StopStages(nothing, nothing, nothing)
    stages.install()
else:
    ignore_stop_signals()
forks = []
heard, said = os.pipe()

def fork():
    pid = os.fork()
    if pid == 0:
        os.write(said, b".")
        signal.sigtimedwait([], 30)
        os._exit(0)
    forks.append(pid)

if {threaded}:
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
else:
    fork()
if signal.{signal} == signal.SIGINT:
    os.read(heard, 1)
os.kill(forks[0], signal.{signal})
_, status = os.waitpid(forks[0], 0)
print(os.waitstatus_to_exitcode(status), stages is None or not stages.wait(timeout=0.2))
os.kill(os.getpid(), signal.SIGTERM)
print("goes on", stages is None or stages.wait(timeout=20))
"""


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("staged", [False, True])
def test_a_copy_is_ended_by_a_signal_that_does_not_reach_its_parent(staged, threaded):
    script = SCRIPT.format(staged=staged, threaded=threaded, signal="SIGTERM")
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=50
    )
    assert ran.stdout == "-15 True\ngoes on True\n"


def test_a_copy_is_interrupted_by_ctrl_c():
    script = SCRIPT.format(staged=True, threaded=False, signal="SIGINT")
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=50
    )
    assert "KeyboardInterrupt" in ran.stderr
    assert ran.stdout.splitlines()[-1] == "goes on True"
