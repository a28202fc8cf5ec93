"""The frames of all threads are taken while no garbage is collected."""

from __future__ import annotations

import gc
import sys
import threading
from pathlib import Path

import pytest

import mqtasks
from mqtasks.process.frames import current_frames


@pytest.fixture
def collecting(monkeypatch):
    """Whether the collector was on, each time the interpreter was asked."""
    seen = []
    frames = sys._current_frames

    def asked():
        seen.append(gc.isenabled())
        return frames()

    monkeypatch.setattr(sys, "_current_frames", asked)
    yield seen
    gc.enable()


def test_the_collector_is_off_meanwhile_and_on_again(collecting):
    assert threading.get_ident() in current_frames()
    assert (collecting, gc.isenabled()) == ([False], True)


def test_a_collector_that_was_off_stays_off(collecting):
    gc.disable()
    current_frames()
    assert (collecting, gc.isenabled()) == ([False], False)


def test_it_is_on_again_after_an_error(monkeypatch):
    monkeypatch.setattr(sys, "_current_frames", lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        current_frames()
    assert gc.isenabled()


def test_nobody_asks_the_interpreter_past_it():
    home = Path(mqtasks.__file__).parent
    asking = {
        str(path.relative_to(home))
        for path in home.rglob("*.py")
        if "sys._current_frames(" in path.read_text(encoding="utf-8")
    }
    assert asking == {"process/frames.py"}
