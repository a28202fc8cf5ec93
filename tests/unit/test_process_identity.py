"""Which process is which: pids are reused, hosts reboot, containers number alike."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
import subprocess
import sys

import pytest

from mqtasks.process import identity
from mqtasks.process.identity import current_identity, default_runner_id, identity_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="identity comes from /proc")


@pytest.fixture
def child():
    """A process that lives until its stdin closes."""
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


def test_identity_of_this_process():
    me = current_identity()
    assert (me.host, me.pid) == (socket.gethostname(), os.getpid())
    assert me.boot
    assert me.namespace
    assert me.started > 0
    assert me == current_identity()
    assert me.is_alive() is True


def test_a_killed_process_is_known_dead(child):
    other = identity_of(child.pid)
    assert other.is_alive() is True
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert other.is_alive() is False, "a zombie runs nothing any more"
    child.wait()
    assert other.is_alive() is False


def test_a_reused_pid_is_another_process():
    me = current_identity()
    assert dataclasses.replace(me, started=me.started - 1).is_alive() is False


def test_a_reboot_ends_every_process():
    assert dataclasses.replace(current_identity(), boot="another").is_alive() is False


@pytest.mark.parametrize(
    "change", [{"host": "elsewhere"}, {"namespace": "pid:[1]"}, {"boot": ""}, {"started": 0}]
)
def test_what_cannot_be_seen_from_here_is_not_declared_dead(change):
    gone = dataclasses.replace(current_identity(), pid=2**22 + 1, **change)
    assert gone.is_alive() is None


def test_a_program_name_with_brackets_is_no_trouble(tmp_path):
    program = tmp_path / "a) Z 1 ("
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        try:
            other = identity_of(process.pid)
            assert other.started >= current_identity().started
            assert other.is_alive() is True
        finally:
            process.kill()


def test_without_proc_nothing_is_claimed(monkeypatch, tmp_path):
    monkeypatch.setattr(identity, "_PROC", tmp_path)
    monkeypatch.setattr(identity, "_BOOT_ID", tmp_path / "boot_id")
    me = current_identity()
    assert (me.boot, me.namespace, me.started) == ("", "", 0)
    assert me.is_alive() is None


def test_default_runner_id_is_unique_and_plain(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "wörker 1:a/" + "x" * 300)
    first, second = default_runner_id(), default_runner_id()
    assert first != second
    assert re.fullmatch(rf"w-rker-1-a-x+-{os.getpid()}-[0-9a-f]{{8}}", first)
    assert len(first.encode()) <= 255
