"""The done loop: batches, outages, and outcomes that storage does not take."""

from __future__ import annotations

import pytest

from mqtasks.clock import ManualClock
from mqtasks.errors import StorageConflict, StorageError, StorageUnavailable
from mqtasks.events import bus
from mqtasks.model import ResultCode, TaskStatus
from mqtasks.storage.memory import MemoryTaskStorage
from tests.worker.rig import Rig


class Counting(MemoryTaskStorage):
    """Notes the sizes of completions; fails those that ``refuses`` says."""

    def __init__(self, clock) -> None:
        super().__init__(clock)
        self.sizes: list[int] = []
        self.failures: list[Exception] = []
        self.refuses = lambda _completion: False

    def complete_many(self, runner_id, completions):
        if self.failures:
            raise self.failures.pop()
        if any(map(self.refuses, completions)):
            raise StorageError("the server does not take this row")
        report = super().complete_many(runner_id, completions)
        self.sizes.append(len(completions))
        return report


@pytest.fixture
def rig() -> Rig:
    clock = ManualClock()
    return Rig(Counting(clock), clock, parallelism=1, max_wait_tasks=5000)


def test_whatever_has_ended_is_committed_a_thousand_at_a_time(rig):
    ids = rig.give(2500)
    rig.fetch()
    rig.fetch()
    while rig.hand.submitted:
        rig.run_next()
    rig.commit()
    assert rig.storage.sizes == [1000, 1000, 500]
    assert set(rig.statuses(*ids)) == {TaskStatus.COMPLETED}
    assert not len(rig.parts.holdings)


def test_one_wake_serves_what_ends_before_the_step(rig):
    wakes = []
    rig.parts.completer.wake = lambda: wakes.append(1)
    rig.give(10)
    rig.run_next()
    assert wakes == [1]
    rig.commit()
    rig.give(1)
    rig.run_next()
    assert wakes == [1, 1]


@pytest.mark.parametrize("error", [StorageUnavailable("away"), StorageConflict("deadlock")])
def test_p14_outcomes_are_kept_until_storage_takes_them(rig, error):
    ids = rig.give(3)
    rig.run_next()
    rig.storage.failures = [error, error]
    for _ in range(2):
        with pytest.raises(type(error)):
            rig.commit()
        assert rig.parts.completer.pending == 3
        assert len(rig.parts.holdings) == 3
    rig.commit()
    assert set(rig.statuses(*ids)) == {TaskStatus.COMPLETED}
    assert rig.parts.completer.pending == 0


def test_p10_a_commit_whose_answer_was_lost_is_repeated_without_harm(rig):
    real = rig.storage.complete_many
    lost = [StorageUnavailable("cut after commit")]

    def cut(runner_id, completions):
        report = real(runner_id, completions)
        if lost:
            raise lost.pop()
        return report

    rig.storage.complete_many = cut
    ids = rig.give(2)
    rig.run_next()
    with pytest.raises(StorageUnavailable):
        rig.commit()
    rig.commit()
    assert set(rig.statuses(*ids)) == {TaskStatus.COMPLETED}
    assert rig.parts.telemetry.lost_total == 0


def test_one_bad_outcome_does_not_hold_up_the_others(rig):
    rig.act = lambda _ctx, task: b"poison" if task.id == 2 else None
    rig.storage.refuses = lambda completion: completion.result.value == b"poison"
    ids = rig.give(3)
    rig.run_next()
    rig.commit()
    assert set(rig.statuses(*ids)) == {TaskStatus.COMPLETED}
    result = rig.task(2).execute_result
    assert result.code is ResultCode.FAILED
    assert "could not be stored: StorageError" in result.error


def test_an_outcome_that_cannot_even_be_reported_is_dropped_loudly(rig, caplog):
    rig.storage.refuses = lambda completion: completion.task_id == 2
    rig.give(3)
    rig.run_next()
    rig.commit()
    assert rig.task(1).status is TaskStatus.COMPLETED
    assert rig.task(3).status is TaskStatus.COMPLETED
    assert rig.task(2).status is TaskStatus.RUNNING  # the self-check gives it back
    assert "task 2" in caplog.text


def test_room_is_announced_only_where_its_lack_may_have_mattered(rig):
    announced = []
    rig.parts.slots._announce = lambda: announced.append(1)
    clock = ManualClock()
    wide = Rig(MemoryTaskStorage(clock), clock, parallelism=4)
    wide.parts.slots._announce = lambda: announced.append(2)
    rig.give(1)
    rig.run_next()
    rig.commit()
    wide.give(1)
    wide.run_next()
    wide.commit()
    assert announced == [1]
    wide.give(1, concurrency=1)
    wide.run_next()
    wide.commit()
    assert announced == [1, 2]


def test_events_follow_the_commit(rig):
    events = []
    told = ("task.started", "task.finished", "task.retried", "task.released")
    ends = [bus.subscribe(name, lambda *event: events.append(event)) for name in told]
    try:
        rig.act = lambda _ctx, task: 1 / 0 if task.id == 2 else None
        rig.give(1)
        rig.run_next()
        assert [name for name, _ in events] == ["task.started"]
        rig.commit()
        (task_id,) = rig.give(1, max_retry_times=1)
        rig.run_next()
        rig.commit()
        rig.give(1, executor="nobody")
        rig.commit()
    finally:
        for end in ends:
            end()
    names = [name for name, _ in events]
    assert names == [
        "task.started",
        "task.finished",
        "task.started",
        "task.retried",
        "task.released",
    ]
    assert events[1][1]["outcome"] == "success"
    assert events[3][1]["task_id"] == task_id
    assert events[3][1]["error"].startswith("ZeroDivisionError")


def test_the_board_shows_totals(rig):
    rig.act = lambda _ctx, task: 1 / 0 if task.id == 2 else None
    rig.give(3)
    rig.run_next()
    rig.commit()
    assert rig.board.counts[:3] == (3, 2, 1)
    beat = rig.ward.beat()
    assert (beat.completed_total, beat.failed_total, beat.state) == (2, 1, "active")


def test_a_fetch_that_takes_too_long_is_dropped_and_counted(rig):
    interrupted: list[int] = []
    rig.storage.interrupt = interrupted.append
    owned = rig.storage.owned

    def slow(*args):
        rig.clock.advance(8)
        rig.keeper.run_once()
        rig.clock.advance(3)
        rig.parts.watchdog.run_once()
        return owned(*args)

    rig.storage.owned = slow
    rig.allocate(*rig.create(1))
    with pytest.raises(StorageUnavailable, match="fetch_timeout"):
        rig.fetch()
    assert len(interrupted) == 1
    assert rig.parts.fetcher.timeouts == 1
    assert not rig.hand.submitted
    rig.storage.owned = owned
    rig.fetch()
    assert len(rig.hand.submitted) == 1


def test_p3_tasks_that_a_hint_brought_are_looked_after_within_an_interval(rig):
    rig.fetch()
    assert 0 < rig.parts.fetch_if_due() <= 3.0
    looks = []
    owned = rig.storage.owned

    def noted(*args):
        looks.append(1)
        return owned(*args)

    rig.storage.owned = noted
    rig.clock.advance(3)
    rig.parts.fetch_if_due()
    assert looks == []  # nothing is held, and hints flow
    rig.parts.admission.admit(rig.allocate(*rig.create(1)))
    rig.clock.advance(3)
    rig.parts.fetch_if_due()
    assert looks == [1]
    rig.parts._look()
    rig.run_next()
    rig.commit()
    rig.parts.fetch_if_due()
    assert looks == [1, 1]


def test_how_soon_the_next_fetch_comes(rig):
    assert rig.fetch() == 10.0  # hints flow: memory storage lives in this process
    rig.give(1)
    assert rig.fetch() == 3.0  # tasks are held
    rig.parts.fetcher._hints_flow = lambda: False
    assert rig.fetch() == 1.0
