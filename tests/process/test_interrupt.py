"""Raising in another thread: only in the work that was meant, and never in shielded code."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from mqtasks.process import interrupt
from mqtasks.process.interrupt import guard_of_thread, shield

WAIT = 20


class Stop(BaseException):
    pass


class Worker:
    """A thread with a guard that runs what it is given, one after the other."""

    def __init__(self):
        self.guard: Any = None  # set by the thread before it is ready
        self.ready = threading.Event()
        self.log = []

    def start(self, *works):
        self.thread = threading.Thread(target=self._run, args=(works,), daemon=True)
        self.thread.start()
        assert self.ready.wait(WAIT)

    def join(self):
        self.thread.join(WAIT)
        assert not self.thread.is_alive()

    def _run(self, works):
        guard = self.guard = guard_of_thread()
        for owner, work in works:
            guard.enter(owner)
            if not self.ready.is_set():
                self.ready.set()
            try:
                try:
                    work()
                    self.log.append((owner, "returned"))
                except BaseException as error:  # noqa: BLE001 - what it raises is what is asked for
                    self.log.append((owner, type(error).__name__))
                guard.leave()
            except Stop:
                self.log.append((owner, "late"))
                guard.leave()


def spin(until):
    def work():
        while not until.is_set():
            pass

    return work


def test_it_comes_in_the_middle_of_the_work_and_once_only():
    worker, never = Worker(), threading.Event()
    worker.start(("a", spin(never)), ("b", lambda: None))
    assert not worker.guard.strike("b", Stop)  # it works for somebody else
    assert worker.guard.strike("a", Stop)
    assert not worker.guard.strike("a", Stop)
    worker.join()
    assert worker.log == [("a", "Stop"), ("b", "returned")]


def test_the_next_work_of_a_thread_is_safe_from_what_was_meant_for_the_last(monkeypatch):
    """The worst moment: decided to raise, then the work ends, then it is raised."""
    raising, ended = threading.Event(), threading.Event()
    real = interrupt.set_exception

    def slowly(ident, kind):
        if kind is not None:
            raising.set()
            assert ended.wait(WAIT)  # the thread has left its work, and waits for us in `leave`
        return real(ident, kind)

    monkeypatch.setattr(interrupt, "set_exception", slowly)
    worker = Worker()
    go = threading.Event()

    def second():
        for _ in range(200_000):
            pass

    def first():
        go.wait(WAIT)

    worker.start(("a", first), ("b", second))
    settle = worker.guard.settle

    def noted():
        ended.set()
        settle()

    monkeypatch.setattr(type(worker.guard), "settle", lambda _self: noted())
    striker = threading.Thread(target=lambda: worker.guard.strike("a", Stop))
    striker.start()
    assert raising.wait(WAIT)
    go.set()
    striker.join(WAIT)
    worker.join()
    assert worker.log[0][0] == "a"
    assert worker.log[-1] == ("b", "returned")
    assert all(what != "Stop" for owner, what in worker.log if owner == "b")


def test_thousands_of_ends_that_race_with_it_harm_no_other_work():
    worker = Worker()
    rounds = 3000
    works = [(n, (lambda: sum(range(50)))) for n in range(rounds)]
    worker.start(*works)
    struck = 0
    while worker.thread.is_alive():
        owner = worker.guard.owner
        if owner is not None and owner % 2:
            struck += worker.guard.strike(owner, Stop)
    worker.join()
    hit = {owner for owner, what in worker.log if what != "returned"}
    assert all(owner % 2 for owner in hit)
    assert len(hit) <= struck
    assert {owner for owner, _ in worker.log} == set(range(rounds))


def test_shielded_code_is_not_interrupted_and_it_comes_right_after_it():
    worker = Worker()
    inside, leave = threading.Event(), threading.Event()
    seen = []

    def work():
        with shield:
            with shield:
                inside.set()
                leave.wait(WAIT)
            sum(range(10_000))
            seen.append("whole")
        seen.append("never")

    worker.start(("a", work), ("b", lambda: None))
    assert inside.wait(WAIT)
    assert worker.guard.strike("a", Stop)
    assert not worker.guard.strike("a", Stop)
    leave.set()
    worker.join()
    assert seen == ["whole"]
    assert worker.log == [("a", "Stop"), ("b", "returned")]
    assert worker.guard.depth == 0


def test_what_was_raised_before_a_shield_does_not_come_inside_of_it(monkeypatch):
    """Raised while the thread waits in C: it is found when the shield is entered, not later."""
    worker = Worker()
    waiting, go = threading.Event(), threading.Lock()
    go.acquire()
    seen = []

    def work():
        waiting.set()
        go.acquire()
        with shield:
            seen.append("entered")

    worker.start(("a", work))
    assert waiting.wait(WAIT)
    assert worker.guard.strike("a", Stop)
    go.release()
    worker.join()
    assert seen == []
    assert worker.log == [("a", "Stop")]
    assert worker.guard.depth == 0


def test_a_claim_is_refused_once_the_work_is_over():
    worker = Worker()
    leave = threading.Event()
    taken = []
    worker.start(("a", lambda: leave.wait(WAIT)))
    assert worker.guard.claim("a", lambda: taken.append(1))
    leave.set()
    worker.join()
    assert not worker.guard.claim("a", lambda: taken.append(2))
    assert taken == [1]


def test_a_thread_without_work_has_nothing_to_shield():
    with shield:
        pass
    with pytest.raises(ZeroDivisionError), shield:
        _ = 1 / 0
