"""Slots, priorities, and tasks that run alone."""

from __future__ import annotations

import pytest

from mqtasks.model import SUCCESS, AttemptOutcome, TaskEpoch, TaskStatus
from tests.worker.rig import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


def crashed(rig: Rig, count: int = 1) -> list[int]:
    """Tasks that wait here after their process has died under them once."""
    ids = rig.create(count)
    rows = rig.allocate(*ids)
    identity = rig.parts.identity
    started = [TaskEpoch(row.id, row.epoch) for row in rows]
    rig.storage.report_dead("r", identity.generation, started, 3)
    identity.register(lambda _: True)
    rig.allocate(*ids)
    return ids


def test_no_more_tasks_start_than_there_are_slots(rig):
    rig.give(5)
    assert len(rig.hand.submitted) == 2
    assert rig.parts.dispatcher.waiting_count == 3
    assert rig.parts.dispatcher.free_slots == 0
    assert rig.run_next() == 4  # the thread takes the waiting ones along
    assert rig.run_next() == 1
    assert rig.parts.dispatcher.free_slots == 2


def test_the_highest_priority_starts_first_then_the_order_of_arrival():
    rig = Rig(parallelism=1)
    first = rig.give()
    low = rig.give(2, priority=-1)
    high = rig.give(2, priority=5)
    middle = rig.give(2)
    rig.run_next()
    assert rig.calls == [*first, *high, *middle, *low]


def test_p3_nothing_starts_at_or_after_trusted_until(rig):
    rig.clock.advance(9)  # 15 - 2 x 3: to the moment
    ids = rig.give(2)
    assert not rig.hand.submitted
    rig.keeper.run_once()
    rig.parts.dispatcher.pump()
    assert len(rig.hand.submitted) == 2
    assert rig.statuses(*ids) == [TaskStatus.RUNNING] * 2


def test_p3_a_thread_does_not_take_the_next_task_along_once_trust_is_over(rig):
    rig.give(4)
    rig.act = lambda _ctx, _task: rig.clock.advance(10)
    assert rig.run_next() == 1
    assert rig.parts.dispatcher.waiting_count == 2


def test_p8_a_crashed_task_runs_alone_and_is_marked_started_before(rig):
    (suspect,) = crashed(rig)
    ordinary = rig.create(1)
    rig.allocate(*ordinary)
    rig.fetch()
    other = rig.begin()
    assert not rig.hand.submitted  # the suspect waits until the other has ended
    assert rig.task(suspect).started_at == 0
    rig.end(other, SUCCESS)
    assert not rig.hand.submitted
    rig.parts.write_once()
    assert rig.task(suspect).started_at > 0
    (held,) = rig.hand.submitted
    assert held.task_id == suspect
    rig.give(3)
    assert len(rig.hand.submitted) == 1  # nothing starts beside it
    assert rig.run_next() == 3  # it, and two of the three that waited
    assert len(rig.hand.submitted) == 1
    assert rig.parts.dispatcher.waiting_count == 0


def test_p8_others_go_first_until_its_patience_is_over(rig):
    blocker = rig.give(1)
    held = rig.begin()
    (suspect,) = crashed_beside(rig)
    rig.give(1)
    rig.run_next()
    assert len(rig.calls) == 1  # it was not held up
    rig.clock.advance(4)
    rig.keeper.run_once()
    rig.give(1)
    assert not rig.hand.submitted  # now it is: the suspect is next
    rig.end(held, SUCCESS)
    rig.parts.write_once()
    assert rig.hand.submitted[0].task_id == suspect
    assert blocker


def test_p8_one_that_finds_no_moment_alone_goes_elsewhere(rig):
    rig.give(1)
    rig.begin()
    (suspect,) = crashed_beside(rig)
    rig.clock.advance(3 * 4 + 1)  # its epoch is 2
    rig.keeper.run_once()
    rig.parts.watchdog.run_once()
    rig.commit()
    task = rig.task(suspect)
    assert task.status is TaskStatus.CREATED
    assert task.crashes == 1
    assert rig.outcomes(suspect)[-1] == AttemptOutcome.RELEASED


def crashed_beside(rig: Rig) -> list[int]:
    """A task that has crashed at another runner, now waiting here beside others."""
    other = Rig(rig.storage, rig.clock, runner_id="other")
    ids = other.create(1)
    (row,) = other.allocate(*ids)
    rig.storage.report_dead("other", 1, [TaskEpoch(row.id, row.epoch)], 3)
    rig.allocate(*ids)
    rig.fetch()
    return ids
