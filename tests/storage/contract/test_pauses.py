"""Pauses (S4)."""

from __future__ import annotations

import threading

import pytest

from mqtasks.errors import InvalidArgument
from mqtasks.model import Pause, PauseKind, pause_name


def test_s4_a_pause_stands_until_it_is_lifted(stage):
    now = stage.clock.now_ms()
    assert stage.storage.pause(PauseKind.KEY, "customer-7", "they asked")
    assert stage.storage.pauses() == [Pause(PauseKind.KEY, "customer-7", "they asked", now)]
    assert stage.storage.resume(PauseKind.KEY, "customer-7")
    assert not stage.storage.resume(PauseKind.KEY, "customer-7")
    assert stage.storage.pauses() == []


def test_s4_a_pause_is_written_once_and_keeps_its_reason(stage):
    assert stage.storage.pause(PauseKind.EXECUTOR, "mail", "first")
    stage.clock.advance(5)
    assert not stage.storage.pause(PauseKind.EXECUTOR, "mail", "second")
    (pause,) = stage.storage.pauses()
    assert pause.reason == "first"


def test_s4_the_same_name_may_be_paused_as_several_things(stage):
    for kind in PauseKind:
        assert stage.storage.pause(kind, "x")
    assert [item.kind for item in stage.storage.pauses()] == sorted(PauseKind)
    assert stage.storage.resume(PauseKind.RUNNER, "x")
    assert len(stage.storage.pauses()) == len(PauseKind) - 1


@pytest.mark.parametrize("name", ["A", "a ", "é", "\0", "😀", "a" * 255])
def test_p11_names_are_compared_bytewise(stage, name):
    assert stage.storage.pause(PauseKind.KEY, "a")
    assert stage.storage.pause(PauseKind.KEY, name)
    assert stage.storage.resume(PauseKind.KEY, name)
    assert [item.name for item in stage.storage.pauses()] == ["a"]


def test_s4_pauses_survive_the_process(opener, clock):
    first = opener(clock)
    if not first.capabilities.cross_process:
        pytest.skip("it lives in one process")
    first.pause(PauseKind.RUNNER, "r1", "disk is full")
    first.close()
    assert [item.name for item in opener(clock).pauses()] == ["r1"]


def test_concurrent_pauses_of_one_thing_write_one_row(stage):
    start = threading.Barrier(8)
    answers = []

    def pause() -> None:
        start.wait()
        answers.append(stage.storage.pause(PauseKind.KEY, "k"))

    threads = [threading.Thread(target=pause) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 7 + [True]
    assert len(stage.storage.pauses()) == 1


def test_names_are_brought_to_their_stored_form():
    assert pause_name("executor", 7) == (PauseKind.EXECUTOR, "0000000007")
    assert pause_name("key", "k") == (PauseKind.KEY, "k")
    with pytest.raises(InvalidArgument, match="one of: executor, key, tenant, runner"):
        pause_name("queue", "x")
    with pytest.raises(InvalidArgument, match="must not be empty"):
        pause_name("key", "")
