"""P3: storage and memory are compared both ways; P4 and P14: losing the lease and coming back."""

from __future__ import annotations

import pytest

from mqtasks.errors import RunnerConflict, StorageUnavailable
from mqtasks.model import SUCCESS, AttemptOutcome, RunnerState, TaskStatus
from mqtasks.service.hints import encode_revoked
from mqtasks.storage.memory import MemoryTaskStorage
from mqtasks.worker.trust import trusted_until
from tests.worker.rig import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


# -- both ways -------------------------------------------------------------------------------------


def test_p3_a_task_held_but_not_owned_is_cancelled(rig):
    (running, waiting, *_) = rig.give(3)
    held = rig.begin()
    rig.clock.advance(1)
    rig.storage.release_many("r", [h.key for h in rig.parts.holdings.all()], "taken")
    rig.fetch()
    assert held.cancel_reason == "reassigned"
    assert rig.parts.dispatcher.waiting_count == 0
    rig.end(held, SUCCESS)
    rig.commit()
    assert rig.parts.telemetry.lost_total == 1
    assert rig.task(running).status is TaskStatus.CREATED
    assert rig.task(waiting).status is TaskStatus.CREATED


def test_p3_what_was_admitted_during_the_look_is_left_alone():
    class Late(MemoryTaskStorage):
        hook = staticmethod(lambda: None)

        def owned(self, runner_id, generation):
            answer = super().owned(runner_id, generation)
            self.hook()
            return answer

    rig = Rig(Late())
    (task_id,) = rig.create()

    def arrive() -> None:
        rig.parts.admission.admit(rig.allocate(task_id))

    rig.storage.hook = arrive
    rig.fetch()
    assert rig.hand.submitted[0].cancel_reason == ""


def test_p9_a_canceled_task_that_waits_never_starts(rig):
    ids = rig.give(3)
    rig.clock.advance(1)
    report = rig.service.cancel(ids[2])
    assert report.requested
    rig.parts.hints.revoked(encode_revoked([ids[2]]))
    rig.fetch()
    rig.commit()
    assert rig.task(ids[2]).status is TaskStatus.CANCELED
    assert rig.parts.dispatcher.waiting_count == 0


def test_p9_a_canceled_task_that_was_never_fetched_is_ended(rig):
    (task_id,) = rig.create()
    rig.allocate(task_id)
    rig.service.cancel(task_id)
    rig.fetch()
    rig.commit()
    assert rig.task(task_id).status is TaskStatus.CANCELED
    assert not rig.hand.submitted


def test_p3_owned_and_forgotten_for_two_intervals_is_given_back(rig):
    (task_id,) = rig.give()
    held = rig.hand.submitted.popleft()
    rig.parts.holdings.discard(held)  # as if its outcome could never be stored
    for _ in range(2):
        rig.fetch()
        assert rig.task(task_id).status is TaskStatus.RUNNING
        rig.clock.advance(3)
        rig.keeper.run_once()
    rig.fetch()
    assert rig.task(task_id).status is TaskStatus.CREATED
    assert rig.outcomes(task_id) == [AttemptOutcome.RELEASED]


def test_p3_what_was_committed_since_the_look_began_is_no_orphan():
    class Slow(MemoryTaskStorage):
        hook = staticmethod(lambda: None)

        def owned(self, runner_id, generation):
            answer = super().owned(runner_id, generation)
            self.hook()
            return answer

    rig = Rig(Slow())
    (task_id,) = rig.give()

    def finish() -> None:
        rig.storage.hook = lambda: None
        rig.run_next()
        rig.commit()

    rig.storage.hook = finish
    rig.fetch()
    assert rig.parts.fetcher._ownership._orphaned_since == {}
    assert rig.task(task_id).status is TaskStatus.COMPLETED


def test_unknown_executors_are_given_back_never_failed(rig):
    (task_id,) = rig.give(1, executor="elsewhere")
    rig.commit()
    task = rig.task(task_id)
    assert task.status is TaskStatus.CREATED
    assert task.attempt == 0
    assert rig.outcomes(task_id) == [AttemptOutcome.RELEASED]


def test_long_tasks_are_marked_started(rig):
    (short, long) = rig.give(2)
    held = rig.begin()
    assert held.task_id == short
    rig.clock.advance(3)
    rig.keeper.run_once()
    rig.fetch()
    assert rig.task(short).started_at > 0
    assert rig.task(long).started_at == 0


def test_marking_a_long_task_shows_its_cancellation(rig):
    (task_id,) = rig.give()
    held = rig.begin()
    rig.service.cancel(task_id)
    rig.parts.marker.mark([held])
    assert held.cancel_reason == "canceled"


def test_marking_a_long_task_shows_that_it_was_taken(rig):
    rig.give()
    held = rig.begin()
    rig.storage.release_many("r", [held.key], "taken")
    rig.parts.marker.mark([held])
    assert held.cancel_reason == "reassigned"


# -- a start that is written first -------------------------------------------------------------


def second_epoch(rig: Rig) -> int:
    (task_id,) = rig.give()
    held = rig.hand.submitted.popleft()
    rig.parts.canceller.cancel(held, "shutdown")
    rig.parts.execution.run(held)
    rig.parts.dispatcher.ended(held)
    rig.commit()
    rig.allocate(task_id)
    rig.fetch()
    return task_id


def test_p8_a_second_epoch_is_marked_before_it_starts(rig):
    task_id = second_epoch(rig)
    assert not rig.hand.submitted
    rig.parts.write_once()
    assert rig.task(task_id).started_at > 0
    rig.run_next()
    rig.commit()
    assert rig.task(task_id).status is TaskStatus.COMPLETED


def test_a_task_taken_before_its_start_is_written_does_not_start(rig):
    task_id = second_epoch(rig)
    (held,) = rig.parts.holdings.all()
    rig.storage.release_many("r", [held.key], "taken")
    rig.parts.write_once()
    assert not rig.hand.submitted
    assert not len(rig.parts.holdings)
    assert rig.parts.dispatcher.free_slots == 2
    assert rig.calls == []
    assert task_id


def test_a_task_canceled_before_its_start_is_written_ends_canceled(rig):
    task_id = second_epoch(rig)
    rig.service.cancel(task_id)
    rig.parts.write_once()
    rig.commit()
    assert rig.task(task_id).status is TaskStatus.CANCELED
    assert rig.parts.dispatcher.free_slots == 2


def test_a_start_that_was_written_too_late_is_given_back(rig):
    task_id = second_epoch(rig)
    rig.clock.advance(10)
    rig.parts.write_once()
    rig.run_next()
    rig.commit()
    assert rig.calls == []
    assert rig.task(task_id).status is TaskStatus.CREATED


# -- trust -----------------------------------------------------------------------------------------


def test_p3_trust_counts_from_before_the_renewal_was_sent(rig):
    class Slow(MemoryTaskStorage):
        def renew_runners(self, renewals, lease_ms):
            rig.clock.advance(2)
            return super().renew_runners(renewals, lease_ms)

    rig.keeper._storage = Slow(rig.clock)
    rig.keeper._storage.__dict__.update(rig.storage.__dict__)
    before = rig.clock.monotonic()
    rig.keeper.run_once()
    assert rig.board.trusted_until == trusted_until(before, rig.options) == before + 9


def test_p3_running_tasks_are_cancelled_when_trust_ends_and_waiting_ones_stay(rig):
    ids = rig.give(3)
    held = rig.begin()
    rig.clock.advance(9)
    rig.parts.watchdog.run_once()
    assert held.cancel_reason == "lease lapsed"
    assert rig.parts.dispatcher.waiting_count == 1
    rig.end(held, SUCCESS)
    assert not [h for h in rig.hand.submitted if not h.cancel_reason]
    rig.keeper.run_once()  # nobody fenced it meanwhile: it goes on
    rig.parts.watchdog.run_once()
    assert rig.hand.submitted[-1].task_id == ids[2]


def test_the_watchdog_wakes_when_trust_ends(rig):
    assert rig.parts.watchdog.run_once() == 1.5
    rig.clock.advance(8)
    assert rig.parts.watchdog.run_once() == pytest.approx(1.0)


def test_p14_a_renewal_that_fails_extends_no_trust(rig):
    until = rig.board.trusted_until
    rig.clock.advance(3)
    rig.storage.close()
    with pytest.raises(StorageUnavailable):
        rig.keeper.run_once()
    assert rig.board.trusted_until == until


# -- fenced --------------------------------------------------------------------------------------


def test_p4_a_fenced_runner_gives_up_clears_the_charge_and_registers_again(rig):
    ids = rig.give(4)
    held = rig.begin()
    rig.parts.marker.mark([held])
    rig.lapse()
    assert rig.task(ids[0]).crashes == 1
    rig.keeper.run_once()
    assert rig.board.fenced == 1
    rig.fetch()
    assert held.cancel_reason == "reassigned"
    assert rig.task(ids[0]).crashes == 0
    assert rig.outcomes(ids[0]) == [AttemptOutcome.FENCED]
    assert rig.outcomes(ids[3]) == [AttemptOutcome.LOST]
    assert rig.parts.identity.generation == 3
    assert rig.state() is RunnerState.ACTIVE
    rig.end(held, SUCCESS)
    rig.commit()
    assert rig.task(ids[0]).status is TaskStatus.CREATED  # the late outcome changed nothing
    rig.allocate(*ids)
    rig.fetch()
    rig.parts.write_once()
    assert {h.epoch for h in rig.hand.submitted if h.task_id == ids[0]} == {2}


def test_p4_coming_back_goes_on_where_storage_failed(rig):
    rig.give(1)
    rig.begin()
    rig.lapse()
    rig.keeper.run_once()
    register, failures = rig.storage.register_runner, [StorageUnavailable("away")]

    def flaky(*args):
        if failures:
            raise failures.pop()
        return register(*args)

    rig.storage.register_runner = flaky
    with pytest.raises(StorageUnavailable):
        rig.fetch()
    rig.fetch()
    assert rig.parts.identity.generation == 3


def test_a_lapsed_lease_that_nobody_fenced_is_simply_renewed(rig):
    rig.clock.advance(60)
    rig.keeper.run_once()
    assert rig.board.fenced == 0
    assert rig.board.trusted_until > rig.clock.monotonic()


def test_p2_an_id_that_is_leased_elsewhere_is_refused_or_waited_for(rig):
    def start(seconds_passed: float, **options) -> Rig:
        second = Rig(rig.storage, rig.clock, register=False, **options)

        def wait(seconds: float) -> bool:
            assert 0 < seconds < 16
            rig.clock.advance(seconds if seconds_passed < 0 else seconds_passed)
            return False

        second.parts.identity.register(wait)
        return second

    with pytest.raises(RunnerConflict):
        start(-1, on_conflict="raise")
    with pytest.raises(RunnerConflict):
        start(0.5)  # it is renewed, or not over yet
    assert start(-1).parts.identity.generation == 2


def test_p2_tasks_of_the_older_generation_are_taken_from_it(rig):
    ids = rig.give(2)
    rig.clock.advance(20)
    second = Rig(rig.storage, rig.clock)
    assert rig.statuses(*ids) == [TaskStatus.CREATED] * 2
    rig.keeper.run_once()
    assert rig.board.fenced == 1
    assert second.board.fenced == 0
