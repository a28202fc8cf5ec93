from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mqtasks.process.guarded import GuardedProcess

SLEEP = ["/bin/sleep", "300"]

PARENT = """
import os, signal, sys
from pathlib import Path
from mqtasks.process.guarded import GuardedProcess
child = GuardedProcess(["/bin/sh", "-c", "echo up; exec sleep 300"], Path(sys.argv[1]))
while not child.tail():
    child.wait(0.01)
print(child.pid, flush=True)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


def gone(pid: int) -> bool:
    """Whether a process that is not our child has ended (a zombie has)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is a Linux feature")
@pytest.mark.parametrize("end", ["killed", "returned"])
def test_child_ends_with_its_parent(tmp_path, end):
    """Neither SIGKILL nor a plain exit of the parent leaves the child running."""
    parent = subprocess.run(
        [sys.executable, "-c", PARENT, str(tmp_path / "log"), end],
        capture_output=True,
        text=True,
        check=False,
    )
    child = int(parent.stdout)
    # A pidfd becomes readable at the end of any process, whoever its parent is.
    try:
        pidfd = os.pidfd_open(child)
    except ProcessLookupError:
        return
    import select

    try:
        assert select.select([pidfd], [], [], 10)[0] or gone(child)
    finally:
        os.close(pidfd)


def test_child_survives_the_thread_that_started_it(tmp_path):
    """The death signal must not fire because a starting thread has ended."""
    started: list[GuardedProcess] = []
    thread = threading.Thread(
        target=lambda: started.append(GuardedProcess(SLEEP, tmp_path / "log"))
    )
    thread.start()
    thread.join()
    (child,) = started
    assert not child.wait(0.3)
    child.kill()


def test_stop_and_kill_may_be_repeated(tmp_path):
    child = GuardedProcess(SLEEP, tmp_path / "log")
    child.stop()
    child.stop()
    child.kill()
    assert not child.running


def test_stop_ends_a_program_that_ignores_sigterm(tmp_path):
    script = "trap '' TERM; echo deaf; while :; do sleep 1; done"
    child = GuardedProcess(["/bin/sh", "-c", script], tmp_path / "log")
    while not child.tail():
        assert not child.wait(0.01)
    child.stop(timeout=0.2)
    assert not child.running


def test_stop_ends_a_paused_program(tmp_path):
    child = GuardedProcess(SLEEP, tmp_path / "log", detach=True)
    os.kill(child.pid, signal.SIGSTOP)
    child.stop(timeout=30)
    assert not child.running


def test_tail_is_the_end_of_the_output(tmp_path):
    child = GuardedProcess(["/bin/sh", "-c", "seq 100; echo oops >&2"], tmp_path / "log")
    assert child.wait(30)
    assert child.tail(2) == "100\noops"


def test_a_program_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        GuardedProcess(["/nonexistent/program"], tmp_path / "log", detach=True)


def test_a_forked_copy_does_not_end_the_program(tmp_path):
    """A child that forks from the owner and cleans up must not take the server away."""
    child = GuardedProcess(SLEEP, tmp_path / "log")
    fork = os.fork()
    if fork == 0:
        child.kill()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0
    assert not child.wait(0.2)
    child.kill()
