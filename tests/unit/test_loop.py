"""The start/stop shell around step functions (P15)."""

from __future__ import annotations

import logging
import queue
import signal
import statistics
import threading
import time
from typing import Any

import pytest

from mqtasks.clock import ManualClock
from mqtasks.debug import debug_ctl_task_framework
from mqtasks.errors import StorageUnavailable
from mqtasks.loop import ChangeWatcher, Loop, LoopGroup, Wake
from tests.support.stress import hammer_start_stop

SOON = 10.0
NEVER = 3600.0


class Recorder:
    """A wake that never waits, notes what it was asked to wait, and can hold the loop."""

    def __init__(self) -> None:
        self.asked: queue.Queue[float] = queue.Queue()
        self.signals: queue.Queue[bool] = queue.Queue()

    def set(self) -> None:
        self.signals.put(True)

    def wait(self, timeout: float) -> bool:
        if timeout <= 0:
            return False
        self.asked.put(timeout)
        return self.signals.get(timeout=SOON)


@pytest.fixture
def loops():
    """Collects loops and stops them at the end."""
    made: list[Loop] = []
    yield made
    for loop in made:
        assert loop.stop(SOON)


def counted(loops, step, interval=NEVER, **options):
    """Start a loop; return it and a queue with the outcome of each step."""
    outcomes: queue.Queue[Exception | None] = queue.Queue()
    loop = Loop(
        "test", step, interval, observer=lambda _loop, error: outcomes.put(error), **options
    )
    loops.append(loop)
    loop.start()
    return loop, outcomes


def test_p15_first_step_runs_at_start_and_further_ones_when_woken(loops):
    loop, outcomes = counted(loops, lambda: None)
    assert outcomes.get(timeout=SOON) is None
    for _ in range(3):
        loop.wake()
        assert outcomes.get(timeout=SOON) is None
    assert loop.steps == 4


def test_steps_repeat_at_the_interval(loops):
    _, outcomes = counted(loops, lambda: None, interval=0.01)
    for _ in range(5):
        outcomes.get(timeout=SOON)


def test_interval_counts_from_the_begin_of_a_step(loops):
    clock, wake = ManualClock(), Recorder()
    counted(loops, lambda: clock.advance(1.0), interval=3.0, clock=clock, wake=wake)
    assert wake.asked.get(timeout=SOON) == pytest.approx(2.0)


def test_step_longer_than_the_interval_runs_again_at_once(loops):
    clock, wake = ManualClock(), Recorder()
    _, outcomes = counted(loops, lambda: clock.advance(5.0), interval=3.0, clock=clock, wake=wake)
    for _ in range(3):
        outcomes.get(timeout=SOON)
    assert wake.asked.empty()


def test_step_may_ask_for_its_next_run(loops):
    wake, answers = Recorder(), iter([0.0, 0.0, 7.5])
    _, outcomes = counted(loops, lambda: next(answers), interval=3.0, wake=wake)
    for _ in range(3):
        outcomes.get(timeout=SOON)
    assert wake.asked.get(timeout=SOON) == 7.5


def test_wakes_during_a_step_merge_into_one_more(loops):
    began, go_on = threading.Event(), threading.Event()

    def step() -> None:
        began.set()
        assert go_on.wait(SOON)

    loop, outcomes = counted(loops, step)
    assert began.wait(SOON)
    for _ in range(100):
        loop.wake()
    go_on.set()
    outcomes.get(timeout=SOON)
    outcomes.get(timeout=SOON)
    with pytest.raises(queue.Empty):
        outcomes.get(timeout=0.1)
    assert loop.steps == 2


def test_wakes_before_the_start_are_served_by_the_first_step(loops):
    outcomes: queue.Queue[None] = queue.Queue()
    loop = Loop("test", lambda: None, NEVER, observer=lambda *_: outcomes.put(None))
    loops.append(loop)
    loop.wake()
    loop.start()
    outcomes.get(timeout=SOON)
    with pytest.raises(queue.Empty):
        outcomes.get(timeout=0.1)


def test_failures_are_counted_logged_and_survived(loops, caplog):
    caplog.set_level(logging.INFO, "mqtasks.loop")
    ended = object()
    answers = iter([ValueError("first"), ValueError("second"), None, OSError("third")])

    def step() -> float:
        answer = next(answers, ended)
        if isinstance(answer, Exception):
            raise answer
        return NEVER if answer is ended else 0.0

    loop, outcomes = counted(loops, step, retry_interval=0.06)
    seen = [str(outcomes.get(timeout=SOON)) for _ in range(5)]
    assert seen == ["first", "second", "None", "third", "None"]
    assert (loop.steps, loop.failures, loop.consecutive_failures) == (5, 3, 0)
    first, recovered, again, recovered_again = caplog.records
    assert first.levelno == again.levelno == logging.WARNING
    assert first.getMessage() == (
        "test failed and is tried again, next in 0.05 s: ValueError: first"
    )
    assert first.exc_info, "an error that nobody foresaw shows where it comes from"
    assert recovered.levelno == logging.INFO
    assert recovered.getMessage().startswith("test works again after 2 failures in ")
    assert "OSError: third" in again.getMessage()
    assert recovered_again.getMessage().startswith("test works again after 1 failure in ")


def test_an_outage_of_many_failures_is_a_line_per_half_minute(loops, caplog):
    caplog.set_level(logging.INFO, "mqtasks.loop")
    clock = ManualClock()
    failing = 101
    left = iter(range(failing))

    def step() -> None:
        clock.advance(1.0)
        if next(left, None) is not None:
            raise StorageUnavailable("refused")

    loop, outcomes = counted(loops, step, clock=clock, retry_interval=0.0001)
    errors = [outcomes.get(timeout=SOON) for _ in range(failing + 1)]
    assert [error is None for error in errors] == [False] * failing + [True]
    assert loop.failures == failing
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        (
            "WARNING",
            "test failed and is tried again, next in 0.00 s: StorageUnavailable: refused",
        ),
        *(
            (
                "WARNING",
                f"test still fails, {n + 1} times in {n} s: StorageUnavailable: refused",
            )
            for n in (30, 60, 90)
        ),
        ("INFO", "test works again after 101 failures in 101.0 s"),
    ]
    assert not any(r.exc_info for r in caplog.records), "the error says all there is to know"


def test_wakes_do_not_shorten_the_wait_after_a_failure(loops):
    def step() -> None:
        raise ValueError

    loop, outcomes = counted(loops, step, retry_interval=NEVER)
    for _ in range(4):  # 0.05 + 0.1 + 0.2 s
        outcomes.get(timeout=SOON)
    for _ in range(50):
        loop.wake()
    with pytest.raises(queue.Empty):
        outcomes.get(timeout=0.1)


def test_stop_cuts_the_wait_after_a_failure_short(loops):
    def step() -> None:
        raise ValueError

    loop, outcomes = counted(loops, step)
    for _ in range(5):
        outcomes.get(timeout=SOON)
    began = time.monotonic()
    assert loop.stop(SOON)
    assert time.monotonic() - began < 0.5  # the fifth failure asked for 0.8 s


def test_broken_observer_is_logged_and_survived(loops, caplog):
    ran: queue.Queue[None] = queue.Queue()

    def observer(_loop, _error):
        raise LookupError("observer")

    loop = Loop("test", lambda: ran.put(None), NEVER, observer=observer)
    loops.append(loop)
    loop.start()
    ran.get(timeout=SOON)
    loop.wake()
    ran.get(timeout=SOON)
    assert loop.stop(SOON)
    assert "the observer of test failed" in caplog.text


def test_stop_is_idempotent_and_waits_for_the_step(loops):
    began, go_on = threading.Event(), threading.Event()

    def step() -> None:
        began.set()
        assert go_on.wait(SOON)

    loop, _ = counted(loops, step)
    assert began.wait(SOON)
    assert not loop.stop(0.0)
    assert not loop.stop(0.01)
    assert not loop.running
    go_on.set()
    assert loop.stop(SOON)
    assert loop.stop(SOON)
    assert loop.steps == 1


def test_stop_before_start_does_nothing():
    assert Loop("test", lambda: None, NEVER).stop(0.0)


def test_step_may_stop_its_own_loop(loops):
    answers: queue.Queue[bool] = queue.Queue()

    def step() -> None:
        answers.put(loop.stop(SOON))

    loop = Loop("test", step, 0.001)
    loops.append(loop)
    loop.start()
    assert answers.get(timeout=SOON) is False
    assert loop.stop(SOON)
    assert loop.steps == 1


def test_started_again_while_it_ends_steps_never_overlap(loops):
    inside, go_on = threading.Semaphore(0), threading.Event()
    at_once, most = 0, 0

    def step() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        inside.release()
        assert go_on.wait(SOON)
        at_once -= 1

    loop, _ = counted(loops, step)
    assert inside.acquire(timeout=SOON)
    loop.request_stop()
    loop.start()
    assert loop.running
    assert not inside.acquire(timeout=0.1)
    go_on.set()
    assert inside.acquire(timeout=SOON)
    assert most == 1


def test_disabled_framework_idles_the_loop(loops):
    debug_ctl_task_framework(True)
    try:
        loop, outcomes = counted(loops, lambda: None, interval=0.01)
        with pytest.raises(queue.Empty):
            outcomes.get(timeout=0.1)
        loop.wake()
        with pytest.raises(queue.Empty):
            outcomes.get(timeout=0.1)
    finally:
        debug_ctl_task_framework(False)
    outcomes.get(timeout=SOON)


def test_loop_may_be_woken_from_a_signal_handler(loops):
    loop, outcomes = counted(loops, lambda: None)
    outcomes.get(timeout=SOON)
    previous = signal.signal(signal.SIGUSR2, lambda *_: loop.wake())
    try:
        signal.raise_signal(signal.SIGUSR2)
        outcomes.get(timeout=SOON)
    finally:
        signal.signal(signal.SIGUSR2, previous)


def test_wake_reaches_the_step_at_once(loops):
    """Typical 40-100 us; the bound only excludes polling, whatever else the machine does."""
    latencies = []
    sent = [0.0]
    loop, outcomes = counted(loops, lambda: latencies.append(time.perf_counter() - sent[0]), NEVER)
    outcomes.get(timeout=SOON)
    for _ in range(100):
        time.sleep(0.001)  # noqa: TID251 - let the loop go back to its wait: that is measured
        sent[0] = time.perf_counter()
        loop.wake()
        outcomes.get(timeout=SOON)
    assert statistics.median(latencies[1:]) < 0.003


@pytest.mark.parametrize("seed", range(3))
def test_loop_withstands_start_and_stop_from_many_threads(seed):
    loop = Loop("test", lambda: None, 0.001)
    hammer_start_stop(loop, lambda: loop.running, seed=seed)


def test_group_withstands_start_and_stop_from_many_threads():
    members = [Loop(f"test-{n}", lambda: None, 0.001) for n in range(3)]
    group = LoopGroup(members)
    hammer_start_stop(group, lambda: any(loop.running for loop in members), rounds=20)


# --- wake --------------------------------------------------------------------------------------


def test_wake_is_consumed_by_one_wait():
    wake = Wake()
    assert not wake.wait(0)
    wake.set()
    wake.set()
    assert wake.wait(0)
    assert not wake.wait(0)
    assert not wake.wait(0.001)


def test_wake_takes_any_timeout():
    wake = Wake()
    wake.set()
    assert wake.wait(1e30)
    assert not wake.wait(-1.0)


# --- group -------------------------------------------------------------------------------------


class Part:
    """A loop-like that notes what happens to it."""

    def __init__(self, name, log, error=None, ends=True, clock=None):
        self.name, self.log, self.error, self.ends, self.clock = name, log, error, ends, clock

    def start(self):
        if self.error:
            raise self.error
        self.log.append(f"start {self.name}")

    def request_stop(self):
        self.log.append(f"ask {self.name}")

    def stop(self, timeout=None):
        self.log.append(f"stop {self.name} {timeout}")
        if self.clock:
            self.clock.advance(4.0)
        return self.ends


def test_group_starts_in_order_and_stops_in_reverse_with_one_deadline():
    log: list[str] = []
    clock = ManualClock()
    group = LoopGroup([Part("a", log, clock=clock), Part("b", log, clock=clock)], clock)
    group.start()
    assert group.stop(5.0)
    assert log == ["start a", "start b", "ask b", "ask a", "stop b 5.0", "stop a 1.0"]
    log.clear()
    assert group.stop()
    assert log == ["ask b", "ask a", "stop b None", "stop a None"]


def test_group_says_when_one_has_not_ended():
    log: list[str] = []
    assert not LoopGroup([Part("a", log, ends=False), Part("b", log)]).stop(1.0)


def test_group_undoes_a_start_that_fails():
    log: list[str] = []
    group = LoopGroup([Part("a", log), Part("b", log, error=OSError("no thread")), Part("c", log)])
    with pytest.raises(OSError, match="no thread"):
        group.start()
    assert log == ["start a", "ask a", "stop a None"]


# --- change watcher ----------------------------------------------------------------------------


def watch(values: list[Any], clock):
    changes: list[int] = []
    watcher = ChangeWatcher(lambda: values[0], lambda: changes.append(values[0]), clock=clock)
    return watcher, changes


def test_p13_watcher_reports_each_change_but_not_the_first_value():
    values, clock = [7], ManualClock()
    watcher, changes = watch(values, clock)
    watcher.step()
    watcher.step()
    assert changes == []
    values[0] = 8
    watcher.step()
    watcher.step()
    assert changes == [8]


def test_watcher_keeps_the_last_value_while_it_cannot_tell():
    values: list[int | None] = [7]
    watcher, changes = watch(values, ManualClock())
    watcher.step()
    values[0] = None
    watcher.step()
    values[0] = 7
    watcher.step()
    assert changes == []


def test_p13_watcher_polls_fast_within_a_second_of_activity_and_then_backs_off():
    values, clock = [1], ManualClock()
    watcher, _ = watch(values, clock)
    assert [watcher.step(), watcher.step()] == [0.010, 0.010]
    clock.advance(0.99)
    assert watcher.step() == 0.010
    clock.advance(0.02)
    delays = [watcher.step() for _ in range(20)]
    assert delays == sorted(delays)
    assert 0.010 < delays[0] < delays[1]
    assert delays[-1] == 0.100
    values[0] = 2
    assert watcher.step() == 0.010
    clock.advance(1.5)
    for _ in range(20):
        watcher.step()
    watcher.touch()
    assert watcher.step() == 0.010


def test_watcher_reports_again_what_could_not_be_handled():
    values, tries = [1], []

    def on_change() -> None:
        tries.append(values[0])
        if len(tries) == 1:
            raise OSError

    watcher = ChangeWatcher(lambda: values[0], on_change, clock=ManualClock())
    watcher.step()
    values[0] = 2
    with pytest.raises(OSError):  # noqa: PT011 - the loop around the step logs it
        watcher.step()
    watcher.step()
    watcher.step()
    assert tries == [2, 2]


def test_watcher_runs_in_its_own_thread_and_touch_speeds_it_up():
    clock, values = ManualClock(), [1]
    polled, changed = threading.Semaphore(0), threading.Event()

    def poll() -> int:
        value = values[0]
        polled.release()
        return value

    watcher = ChangeWatcher(poll, changed.set, clock=clock)
    watcher.start()
    try:
        clock.advance(5.0)
        assert polled.acquire(timeout=SOON)
        values[0] = 2
        watcher.touch()
        assert changed.wait(SOON)
    finally:
        assert watcher.stop(SOON)


def test_watcher_withstands_start_and_stop_from_many_threads():
    watcher = ChangeWatcher(lambda: None, lambda: None)
    hammer_start_stop(watcher, lambda: watcher.loop.running, rounds=20)
