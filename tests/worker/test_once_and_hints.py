"""P5: at most one start per (task, epoch), whatever fetches and hints deliver."""

from __future__ import annotations

import pytest

from mqtasks.clock import ManualClock
from mqtasks.model import AsyncTask, TaskStatus
from mqtasks.service.hints import encode_allocated, encode_revoked
from mqtasks.storage.contract import Owned
from mqtasks.storage.memory import MemoryTaskStorage
from tests.worker.rig import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


def hint(rig: Rig, rows: list[AsyncTask], age: float = 0.0, key: bytes = b"", **changes) -> None:
    generation = changes.get("generation", rig.parts.identity.generation)
    sent_at = rig.storage.now_ms() - round(age * 1000)
    for payload in encode_allocated("r", generation, rows, sent_at, key):
        rig.parts.hints.allocated(payload)
    rig.parts.hints.run_once()


def test_p5_a_hint_carries_rows_that_need_no_fetch(rig):
    ids = rig.create(3)
    hint(rig, rig.allocate(*ids))
    assert rig.run_next() == 2
    assert rig.run_next() == 1
    rig.commit()
    assert rig.statuses(*ids) == [TaskStatus.COMPLETED] * 3
    assert rig.parts.hints.used_total == 1


def test_p5_a_hint_sent_three_times_starts_once(rig):
    ids = rig.create(1)
    rows = rig.allocate(*ids)
    hint(rig, rows)
    hint(rig, rows)
    rig.run_next()
    rig.commit()
    rig.fetch()
    hint(rig, rows)  # also after a fetch begun after the commit has ended
    assert rig.calls == ids
    assert not rig.hand.submitted


def test_p5_a_late_hint_is_only_a_reason_to_look(rig):
    rows = rig.allocate(*rig.create(1))
    rig.clock.advance(30)
    hint(rig, rows, age=30)
    assert not rig.hand.submitted
    assert rig.parts.hints.refused_total == 1


def test_p5_a_hint_from_the_future_is_not_believed(rig):
    hint(rig, rig.allocate(*rig.create(1)), age=-5)
    assert not rig.hand.submitted


def test_p5_a_hint_of_another_generation_is_not_believed(rig):
    hint(rig, rig.allocate(*rig.create(1)), generation=7)
    assert not rig.hand.submitted


def test_p5_a_forged_hint_is_not_believed():
    rig = Rig()
    rig.parts.hints._key = b"secret"
    rows = rig.allocate(*rig.create(2))
    hint(rig, rows[:1], key=b"guess")
    hint(rig, rows[:1])
    assert not rig.hand.submitted
    hint(rig, rows[1:], key=b"secret")
    assert len(rig.hand.submitted) == 1


def test_p5_garbage_makes_the_runner_look(rig):
    looks = []
    rig.parts.hints._look = lambda: looks.append(1)
    rig.parts.hints.allocated(b"\xff" * 100)
    rig.parts.hints.revoked(b"")
    rig.parts.hints.run_once()
    assert len(looks) == 2


def test_p5_a_hint_while_the_database_clock_is_unknown_is_not_believed(rig):
    rows = rig.allocate(*rig.create(1))
    rig.storage.close()
    for payload in encode_allocated("r", 1, rows, 0):
        rig.parts.hints.allocated(payload)
    rig.parts.hints.run_once()
    assert not rig.hand.submitted


class LatchedStorage(MemoryTaskStorage):
    """Calls ``between`` after reading what a runner owns, before the answer arrives."""

    between = staticmethod(lambda: None)

    def owned(self, runner_id: str, generation: int) -> list[Owned]:
        answer = super().owned(runner_id, generation)
        self.between()
        return answer

    def load(self, task_ids):
        rows = super().load(task_ids)
        self.between()
        return rows


def test_p5_a_commit_between_select_and_dispatch_does_not_start_again():
    clock = ManualClock()
    storage = LatchedStorage(clock)
    rig = Rig(storage, clock)
    ids = rig.create(1)
    stale = rig.allocate(*ids)
    rig.fetch()

    def done() -> None:
        storage.between = lambda: None
        rig.run_next()
        rig.commit()
        clock.advance(60)
        # An old row arrives as well; nothing has been forgotten while the fetch is under way.
        assert rig.parts.admission.admit(stale)

    storage.between = done
    rig.fetch()
    assert rig.calls == ids
    assert not rig.hand.submitted


def test_p5_the_next_epoch_starts_again(rig):
    (task_id,) = rig.give()
    rig.parts.completer.wake()
    held = rig.begin()
    rig.storage.release_many("r", [held.key], "test")
    rig.allocate(task_id)
    rig.fetch()
    assert held.cancel_reason == "reassigned"
    rig.parts.write_once()  # a second epoch is marked before it starts
    assert rig.hand.submitted[0].epoch == 2


def test_finished_pairs_are_forgotten_after_a_later_fetch_and_the_age_of_hints(rig):
    rig.give(2)
    rig.run_next()
    rig.run_next()
    rig.commit()
    rig.fetch()
    assert rig.parts.once.finished_count == 2
    rig.clock.advance(10)
    rig.fetch()
    assert rig.parts.once.finished_count == 0
    assert not rig.parts.once.knows(1, 1)


def test_rows_beyond_capacity_wait_in_storage():
    rig = Rig(parallelism=2, max_wait_tasks=1)
    ids = rig.create(5)
    rows = rig.allocate(*ids)
    hint(rig, rows)
    assert len(rig.parts.holdings) == 3
    rig.fetch()
    assert rig.parts.fetcher.left_out
    while rig.hand.submitted:
        rig.run_next()
        rig.commit()
        rig.fetch()
    assert sorted(rig.calls) == ids


def test_p6_a_runner_gives_back_what_it_would_start_last(rig):
    ids = rig.give(6)
    rig.parts.hints.revoked(encode_revoked(give_back=3))
    rig.parts.hints.run_once()
    rig.commit()
    assert rig.statuses(*ids) == [TaskStatus.RUNNING] * 3 + [TaskStatus.CREATED] * 3
    assert [rig.task(task_id).attempt for task_id in ids] == [0] * 6
