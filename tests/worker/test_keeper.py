"""The lease keeper, the board, and what else runs no user code."""

from __future__ import annotations

import os
import signal

import pytest

from mqtasks.clock import ManualClock
from mqtasks.coordination.local import LocalHeartbeats
from mqtasks.errors import StorageUnavailable
from mqtasks.model import SUCCESS, AttemptOutcome, RunnerState, TaskEpoch, TaskStatus
from mqtasks.worker.beats import Beats
from mqtasks.worker.board import Board, empty_file
from mqtasks.worker.keeper import LeaseKeeper
from mqtasks.worker.undertaker import Undertaker
from tests.worker.rig import Rig

# -- board -------------------------------------------------------------------------------------


def test_a_board_is_seen_by_whoever_gets_its_descriptor():
    board = Board.create(3)
    other = Board.attach(os.dup(board.fd))
    board.occupy(1, 2**64 - 1, 7, 100.0)
    board.occupy(2, 5, 1, 200.0)
    other.trusted_until = 12.5
    other.fenced = 4
    board.state = RunnerState.ACTIVE
    board.count(9, 8, 1, 2)
    assert other.executing() == [TaskEpoch(2**64 - 1, 7), TaskEpoch(5, 1)]
    assert other.executing(since=150.0) == [TaskEpoch(2**64 - 1, 7)]
    board.vacate(1)
    assert other.executing() == [TaskEpoch(5, 1)]
    assert board.trusted_until == 12.5
    assert board.fenced == 4
    assert other.state is RunnerState.ACTIVE
    assert other.counts == (9, 8, 1, 2)
    assert other.parallelism == 3
    for each in (board, other):
        each.close()
        each.close()


def test_a_board_is_nothing_that_it_is_not():
    fd = empty_file()
    os.ftruncate(fd, 4096)
    with pytest.raises(ValueError, match="no board"):
        Board.attach(fd)


def test_a_new_board_trusts_nothing():
    board = Board.private(1)
    assert board.trusted_until == 0.0
    assert board.state is None
    assert board.executing() == []


# -- leases --------------------------------------------------------------------------------------


def test_all_leases_are_renewed_by_one_statement():
    first = Rig()
    second = Rig(first.storage, first.clock, runner_id="s")
    first.keeper.add(second.ward)
    calls = []
    real = first.storage.renew_runners

    def renew(renewals, lease_ms):
        calls.append([r.runner_id for r in renewals])
        return real(renewals, lease_ms)

    first.storage.renew_runners = renew
    first.clock.advance(3)
    first.keeper.run_once()
    assert calls == [["r", "s"]]
    assert first.board.trusted_until == second.board.trusted_until
    second.parts.identity.set_state(RunnerState.STOPPED)
    first.keeper.run_once()
    assert calls[1:] == [["r"]]
    first.keeper.remove(first.ward)
    first.keeper.run_once()
    assert len(calls) == 2


def test_a_generation_that_ended_during_the_renewal_is_not_fenced_again():
    rig = Rig()
    real = rig.storage.renew_runners

    def renew(renewals, lease_ms):
        rig.parts.identity.register(lambda _: True)
        return real(renewals, lease_ms)

    rig.storage.renew_runners = renew
    rig.keeper.run_once()
    assert rig.board.generation == 2
    assert rig.board.fenced == 1
    rig.allocate(*rig.create(1))
    rig.fetch()
    assert rig.parts.identity.generation == 2
    assert len(rig.hand.submitted) == 1


# -- deaths --------------------------------------------------------------------------------------


def test_p8_only_what_was_in_an_executor_is_charged():
    rig = Rig()
    ids = rig.give(5)
    rig.begin()
    rig.end(rig.begin(), SUCCESS)  # ended, not committed: it runs again, uncharged
    report = rig.keeper.bury(rig.ward)
    assert report is not None
    assert sorted(report.requeued) == ids
    assert [rig.task(t).crashes for t in ids] == [1, 0, 0, 0, 0]
    assert rig.outcomes(ids[0]) == [AttemptOutcome.CRASHED]
    assert rig.outcomes(ids[4]) == [AttemptOutcome.LOST]
    assert rig.state() is RunnerState.STOPPED
    assert rig.keeper.wards == []
    assert rig.keeper.bury(rig.ward) is None


def test_p8_a_crash_over_the_cap_fails_the_task():
    rig = Rig(max_crashes=0)
    (task_id,) = rig.give(1)
    rig.begin()
    rig.keeper.bury(rig.ward)
    assert rig.task(task_id).status is TaskStatus.COMPLETED


def test_p14_the_dead_are_reported_once_storage_is_back():
    rig = Rig()
    rig.give(1)
    rig.begin()
    undertaker = Undertaker(rig.service, rig.keeper)
    done = []
    undertaker.take(rig.ward, lambda: done.append(1))
    report, failures = rig.storage.report_dead, [StorageUnavailable("away")]

    def flaky(*args):
        if failures:
            raise failures.pop()
        return report(*args)

    rig.storage.report_dead = flaky
    with pytest.raises(StorageUnavailable):
        undertaker.run_once()
    assert done == []
    undertaker.run_once()
    assert done == [1]
    assert rig.state() is RunnerState.STOPPED


def test_one_that_stopped_in_order_is_not_reported():
    rig = Rig()
    rig.parts.identity.set_state(RunnerState.STOPPED)
    assert rig.keeper.bury(rig.ward) is None


# -- stopped processes -----------------------------------------------------------------------------


@pytest.mark.parametrize("killable", [True, False])
def test_p14_a_process_that_stays_in_state_t_loses_its_lease(killable, monkeypatch):
    killed = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    states = {"now": "T"}
    rig = Rig()
    keeper = LeaseKeeper(
        rig.storage, rig.options, rig.clock, rig.options.log, lambda _pid: states["now"]
    )
    rig.ward.pid, rig.ward.killable = 4242, killable
    keeper.add(rig.ward)

    def beat() -> bool:
        rig.clock.advance(3)
        before = rig.board.trusted_until
        keeper.run_once()
        return rig.board.trusted_until > before

    assert [beat() for _ in range(6)] == [True] * 5 + [False]
    assert killed == ([(4242, 9)] if killable else [])
    states["now"] = "S"
    assert beat()
    states["now"] = "T"
    assert beat()


# -- beats ---------------------------------------------------------------------------------------


def test_a_task_gets_a_key_once_it_has_run_for_an_interval():
    rig = Rig()
    ids = rig.give(2)
    rig.begin()
    clock = ManualClock()
    heartbeats = LocalHeartbeats(clock)
    beats = Beats(heartbeats, [rig.ward], rig.options, rig.clock)
    beats.run_once()
    assert heartbeats.alive_runners(["r"]) == frozenset({"r"})
    assert heartbeats.alive_tasks(ids) == frozenset()
    rig.clock.advance(3)
    beats.run_once()
    assert heartbeats.alive_tasks(ids) == frozenset({ids[0]})
    (beat,) = heartbeats.runner_details()
    assert (beat.generation, beat.parallelism, beat.running, beat.state) == (1, 2, 1, "active")
    rig.parts.identity.set_state(RunnerState.STOPPED)
    clock.advance(16)
    beats.run_once()
    assert heartbeats.alive_runners(["r"]) == frozenset()


def test_m11_a_process_that_does_not_come_to_end_a_late_task_is_killed(monkeypatch):
    rig = Rig(heartbeat_interval=3.0)
    killed = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    rig.give(1, timeout=5.0)
    rig.begin()
    ward = rig.ward
    assert ward.board.act_by == pytest.approx(rig.clock.monotonic() + 5.0)
    rig.clock.advance(7.9)  # the watchdog may be a little late
    rig.keeper.run_once()
    rig.clock.advance(0.2)
    for _ in range(2):
        rig.keeper.run_once()
    assert killed == []  # an embedded runner's process is not ours to end
    ward.pid, ward.killable = 4711, True
    rig.keeper.run_once()
    assert killed == []  # both may have been frozen until just now
    rig.parts.watchdog.run_once()
    rig.keeper.run_once()
    rig.clock.advance(7.0)
    rig.keeper.run_once()
    assert killed == []
    rig.clock.advance(3.0)
    rig.keeper.run_once()
    assert killed == [(4711, signal.SIGKILL)]


def test_a_watchdog_that_acts_keeps_its_process_alive():
    rig = Rig(heartbeat_interval=3.0)
    rig.ward.pid, rig.ward.killable = 2**22 + 1, True  # no such process: a kill would raise
    rig.give(1, timeout=5.0)
    held = rig.begin()
    for _ in range(20):
        rig.clock.advance(rig.parts.watchdog.run_once())
        rig.keeper.run_once()
    assert held.cancel_reason == "timeout"
    assert held.abandoned is False  # nobody runs it in a thread here
    rig.end(held, SUCCESS)
    rig.parts.watchdog.run_once()
    rig.clock.advance(60)
    rig.parts.watchdog.run_once()
    assert rig.board.act_by == 0.0
