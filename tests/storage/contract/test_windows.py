"""Unique windows: of the tasks with one key only the first is made while its window is open."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from itertools import pairwise

import pytest
from msgspec.structs import replace

from mqtasks.errors import InvalidArgument
from mqtasks.model import Created, ExecuteResult, NewTask, TaskStatus
from tests.support.races import together
from tests.support.stage import new

MINUTE = 60_000


def key(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def unique(metadata_id: str, name: str = "k", period_ms: int = MINUTE, **options) -> NewTask:
    return replace(new(metadata_id, **options), unique_key=key(name), unique_ms=period_ms)


def test_a_second_task_within_the_window_is_the_first_one(stage):
    (first,) = stage.storage.create_tasks([unique("a")])
    (second,) = stage.storage.create_tasks([unique("b")])
    assert first == Created(first.task_id, is_new=True)
    assert second == Created(first.task_id, is_new=False, metadata_id="a")
    assert not stage.storage.find(["b"])


def test_windows_of_other_keys_and_plain_tasks_are_not_concerned(stage):
    made = stage.storage.create_tasks([unique("a"), unique("b", "other"), new("c"), new("d")])
    assert all(item.is_new for item in made)
    assert len({item.task_id for item in made}) == 4


def test_a_window_expires_on_the_clock_of_the_database_and_the_first_period_counts(stage):
    (first,) = stage.storage.create_tasks([unique("a", period_ms=1000)])
    stage.clock.advance(0.999)
    (again,) = stage.storage.create_tasks([unique("b", period_ms=9 * MINUTE)])
    stage.clock.advance(0.001)
    (second,) = stage.storage.create_tasks([unique("c", period_ms=1000)])
    stage.clock.advance(0.5)
    (third,) = stage.storage.create_tasks([unique("d", period_ms=1000)])
    assert [item.task_id for item in (again, third)] == [first.task_id, second.task_id]
    assert second.is_new
    assert third.metadata_id == "c"


def test_a_batch_meets_its_own_windows_in_its_order(stage):
    stage.storage.create_tasks([unique("old", "open")])
    made = stage.storage.create_tasks(
        [unique("a"), new("p"), unique("b"), unique("x", "open"), unique("c", "k2"), unique("d")]
    )
    assert [item.metadata_id for item in made] == ["", "", "a", "old", "", "a"]
    assert [item.is_new for item in made] == [True, True, False, False, True, False]
    assert made[0].task_id < made[1].task_id < made[4].task_id
    assert {made[2].task_id, made[5].task_id} == {made[0].task_id}
    assert set(stage.storage.find(["a", "p", "b", "x", "c", "d"])) == {"a", "p", "c"}


def test_the_window_stays_whatever_becomes_of_its_task(stage):
    first, other = stage.storage.create_tasks([unique("a"), unique("o", "other")])
    stage.storage.cancel_many([first.task_id])
    assert stage.status(first.task_id) is TaskStatus.CANCELED
    stage.register()
    stage.complete(stage.allocate([other.task_id]))
    assert stage.status(other.task_id) is TaskStatus.COMPLETED
    made = stage.storage.create_tasks([unique("b"), unique("p", "other")])
    assert [item.task_id for item in made] == [first.task_id, other.task_id]


def test_the_window_stays_when_its_task_is_pruned(stage):
    (first,) = stage.storage.create_tasks([unique("a", retention=0.0)])
    stage.register()
    given = stage.allocate([first.task_id])
    stage.complete(given, ExecuteResult())
    assert stage.storage.prune(0, 100, 0, 0).deleted == 1
    assert stage.storage.create_tasks([unique("b")]) == [
        Created(first.task_id, is_new=False, metadata_id="a")
    ]


def test_a_window_is_taken_by_a_task_that_is_stored_already(stage):
    (stored,) = stage.storage.create_tasks([new("a")])
    (same,) = stage.storage.create_tasks([unique("a")])
    (other,) = stage.storage.create_tasks([unique("b")])
    assert same == Created(stored.task_id, is_new=False)
    assert other == Created(stored.task_id, is_new=False, metadata_id="a")


def test_due_times_and_options_are_those_of_the_first(stage):
    (first,) = stage.storage.create_tasks([unique("a", priority=3, delay_duration=60.0)])
    stage.storage.create_tasks([unique("b", priority=9)])
    task = stage.task(first.task_id)
    assert (task.status, task.priority) == (TaskStatus.SCHEDULED, 3)


def test_large_batches_of_windows(stage):
    batch = [unique(f"a{number}", f"k{number % 1300}") for number in range(2600)]
    made = stage.storage.create_tasks(batch)
    assert [item.is_new for item in made] == [True] * 1300 + [False] * 1300
    assert [item.task_id for item in made[:1300]] == [item.task_id for item in made[1300:]]
    again = stage.storage.create_tasks([unique("z", "k0"), unique("y", "k1299")])
    assert [item.task_id for item in again] == [made[0].task_id, made[1299].task_id]


def test_expired_windows_are_pruned_in_batches_the_oldest_first(stage):
    for number in range(5):
        stage.storage.create_tasks([unique(f"a{number}", f"k{number}", 1000 + number)])
    stage.storage.create_tasks([unique("kept", "kept")])
    stage.clock.advance(1.003)
    assert [stage.storage.prune_windows(3) for _ in range(3)] == [3, 1, 0]
    made = stage.storage.create_tasks([unique("b", "k3"), unique("c", "k4"), unique("d", "kept")])
    assert [item.metadata_id for item in made] == ["", "a4", "kept"]


@pytest.mark.parametrize(
    ("digest", "period", "field"),
    [
        (b"short", MINUTE, "unique_key"),
        ("k" * 32, MINUTE, "unique_key"),
        (key("k"), 0, "unique_ms"),
        (key("k"), -1, "unique_ms"),
        (key("k"), 2**63, "unique_ms"),
        (key("k"), 1.5, "unique_ms"),
        (key("k"), True, "unique_ms"),
        (b"", 5, "unique_ms"),
    ],
)
def test_half_a_window_is_refused_and_nothing_written(stage, digest, period, field):
    task = replace(new("a"), unique_key=digest, unique_ms=period)
    with pytest.raises(InvalidArgument) as caught:
        stage.storage.create_tasks([new("b"), task])
    assert caught.value.field == field
    assert not stage.storage.find(["a", "b"])


def test_no_task_of_a_batch_can_wait_for_one_with_a_window(stage):
    waiting = replace(new("b"), after=("a",))
    with pytest.raises(InvalidArgument, match="unique_for='a'"):
        stage.storage.create_tasks([unique("a"), waiting])
    stage.storage.create_tasks([unique("a")])
    (made,) = stage.storage.create_tasks([replace(unique("c", "other"), after=("a",))])
    assert stage.status(made.task_id) is TaskStatus.WAITING


@pytest.mark.parametrize("batch", [1, 3])
def test_m1_producers_on_32_threads_make_one_task(stage, batch):
    start = threading.Barrier(32)
    answers: list[list[Created]] = []

    def produce(thread: int) -> None:
        # Keys in another order on every other thread: they would deadlock if taken as given.
        names = [f"k{number}" for number in range(batch)][:: 1 if thread % 2 else -1]
        tasks = [unique(f"{name}-{thread}", name) for name in names]
        start.wait()
        made = stage.storage.create_tasks(tasks)
        answers.append(sorted(made, key=lambda item: item.task_id))

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 32
    assert len({tuple(item.task_id for item in made) for made in answers}) == 1
    assert sum(item.is_new for made in answers for item in made) == batch


def test_no_window_is_open_twice_while_others_expire_and_are_pruned(opener):
    storage, period = opener(None), 5

    def produce(thread: int) -> list[Created]:
        made: list[Created] = []
        for number in range(60):
            batch = [unique(f"{thread}-{number}-{name}", name, period) for name in ("k", "m")]
            made += storage.create_tasks(batch if thread % 2 else batch[::-1])
        return made

    def prune(_: int) -> list[Created]:
        for _ in range(60):
            storage.prune_windows(1)
        return []

    answers = together(*[partial(produce, thread) for thread in range(4)], partial(prune, 0))
    stored = {task.id: task for task in storage.query()}
    assert sum(made.is_new for answer in answers for made in answer) == len(stored)
    assert {made.task_id for answer in answers for made in answer} == set(stored)
    for name in ("k", "m"):
        times = [item.created_at for item in stored.values() if item.metadata.id.endswith(name)]
        assert all(later - earlier >= period for earlier, later in pairwise(sorted(times)))
