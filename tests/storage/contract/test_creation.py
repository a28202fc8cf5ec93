"""Creating in batches: idempotent by metadata id, answered in order (G1, G2)."""

from __future__ import annotations

import threading

import pytest
from msgspec.structs import replace

from mqtasks.conditions import where
from mqtasks.errors import InvalidArgument
from mqtasks.model import Created, TaskOptions, TaskStatus, lane_of
from tests.support.stage import new


def test_a_created_task_holds_what_the_producer_said(stage):
    task = new(
        "t1", 7, context=b"\0payload", parent="p", priority=5, labels={"a": "b"}, tags=("x",)
    )
    (created,) = stage.storage.create_tasks([task])
    stored = stage.task(created.task_id)
    assert created.is_new
    assert stored.metadata == task.metadata
    assert isinstance(stored.metadata.options, TaskOptions)
    assert (stored.parent_task_id, stored.status, stored.priority) == ("p", TaskStatus.CREATED, 5)
    assert stored.lane == lane_of(task.metadata)
    assert stored.run_at == stored.created_at == stage.now
    assert (stored.epoch, stored.attempt, stored.crashes, stored.reassigned) == (0, 0, 0, 0)
    assert (stored.runner, stored.generation, stored.execute_result) == ("", 0, None)
    assert (stored.last_heartbeat, stored.started_at, stored.completed_at) == (0, 0, 0)
    assert stored.progress == b""


def test_what_is_due_later_is_scheduled(stage):
    now = stage.now
    tasks = [
        new("delayed", delay_duration=1.5),
        new("at", run_at=now + 1),
        new("beaten", run_at=now - 5, delay_duration=60),
        new("now", run_at=now),
    ]
    ids = [item.task_id for item in stage.storage.create_tasks(tasks)]
    stored = [(stage.task(item).status, stage.task(item).run_at) for item in ids]
    assert stored == [
        (TaskStatus.SCHEDULED, now + 1500),
        (TaskStatus.SCHEDULED, now + 1),
        (TaskStatus.CREATED, now - 5),
        (TaskStatus.CREATED, now),
    ]


def test_priority_and_lane_of_a_scheduled_task_are_kept_for_later(stage):
    task = new("t1", delay_duration=1, priority=-3, labels={"a": "b"})
    (created,) = stage.storage.create_tasks([task])
    waiting = stage.task(created.task_id)
    assert (waiting.priority, waiting.lane) == (-3, lane_of(task.metadata))
    stage.clock.advance(1)
    stage.storage.promote_due(1)
    assert stage.task(created.task_id) == replace(waiting, status=TaskStatus.CREATED)


def test_known_ids_are_answered_and_left_alone(stage):
    first = stage.storage.create_tasks([new("a"), new("b")])
    stage.clock.advance(5)
    again = stage.storage.create_tasks([new("b", parent="p", priority=3), new("c"), new("a")])
    assert [item.is_new for item in again] == [False, True, False]
    assert [again[0].task_id, again[2].task_id] == [first[1].task_id, first[0].task_id]
    b = stage.task(first[1].task_id)
    assert (b.parent_task_id, b.priority, b.created_at) == ("", 0, stage.now - 5000)


def test_duplicates_inside_a_batch_create_one_row(stage):
    answers = stage.storage.create_tasks(
        [new("a"), new("b"), new("a", parent="p"), new("b"), new("a")]
    )
    assert [item.is_new for item in answers] == [True, True, False, False, False]
    a, b = answers[0].task_id, answers[1].task_id
    assert [item.task_id for item in answers] == [a, b, a, b, a]
    assert a != b
    assert [item.metadata.id for item in stage.storage.query()] == ["a", "b"]
    assert stage.task(a).parent_task_id == ""


def test_a_batch_is_numbered_in_the_order_given(stage):
    """Lanes are first in, first out by task id; so tasks of one batch run in its order."""
    names = ["c", "a", "b", "B", "d", "A"]
    stage.storage.create_tasks([new(name) for name in names])
    (lane,) = stage.storage.lanes(0, 1)
    assert [item.metadata.id for item in stage.storage.lane_tasks(lane, 10)] == names


def test_an_ended_task_still_holds_its_id(stage):
    (task,) = stage.running("a")
    stage.complete([task])
    assert stage.storage.create_tasks([new("a")]) == [Created(task.task_id, is_new=False)]
    assert stage.status(task.task_id) is TaskStatus.COMPLETED


def test_a_batch_of_10_000_with_500_known_ids(stage):
    known = {f"task {n}" for n in range(7, 10_000, 20)}
    assert len(known) == 500
    before = dict(zip(sorted(known), stage.create(*sorted(known)), strict=True))
    tasks = [new(f"task {n}", context=b"x" * (n % 50)) for n in range(10_000)]
    answers = stage.storage.create_tasks(tasks)
    assert len(answers) == 10_000
    assert len({item.task_id for item in answers}) == 10_000
    for task, answer in zip(tasks, answers, strict=True):
        assert answer.is_new == (task.metadata.id not in known)
        assert answer.is_new or answer.task_id == before[task.metadata.id]
    stored = {item.id: item for item in stage.storage.query()}
    assert len(stored) == 10_000
    for task, answer in zip(tasks, answers, strict=True):
        assert stored[answer.task_id].metadata.id == task.metadata.id
        if answer.is_new:
            assert stored[answer.task_id].metadata.context == task.metadata.context


@pytest.mark.parametrize(
    "bad",
    [
        new(""),
        new("x" * 256),
        new("t", "0123456789"),
        new("t", 2**32),
        new("t", ""),
        new("t", parent="é" * 128),
        new("t", run_at=-1),
        new("t", timeout=-1),
        new("t", retry_interval=float("nan")),
        new("t", priority=2**31),
        new("t", context="text"),  # type: ignore[arg-type]
    ],
    ids=lambda task: repr(task)[:60],
)
def test_a_bad_task_in_a_batch_writes_nothing(stage, bad):
    with pytest.raises(InvalidArgument):
        stage.storage.create_tasks([new("good"), bad])
    assert stage.storage.query() == []


def test_g2_producers_on_threads_create_each_id_once(opener):
    """Two producers of 16 threads each create the same 1,000 ids in different orders."""
    producers = [opener(None), opener(None)]
    names = [f"task {n}" for n in range(1000)]
    answers: dict[tuple[int, int], dict[str, Created]] = {}
    failures: list[BaseException] = []
    start = threading.Barrier(32)

    def produce(producer: int, thread: int) -> None:
        mine = names[thread * 60 :] + names[: thread * 60]
        if thread % 2:
            mine.reverse()
        got: dict[str, Created] = {}
        try:
            start.wait(30)
            for begin in range(0, 1000, 125):
                batch = mine[begin : begin + 125]
                made = producers[producer].create_tasks([new(name) for name in batch])
                got.update(zip(batch, made, strict=True))
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)
        answers[producer, thread] = got

    threads = [
        threading.Thread(target=produce, args=(producer, thread))
        for producer in range(2)
        for thread in range(16)
    ]
    for item in threads:
        item.start()
    for item in threads:
        item.join()
    assert failures == []
    stored = {item.metadata.id: item.id for item in producers[0].query(where.everything())}
    assert sorted(stored) == sorted(names)
    for got in answers.values():
        assert {name: item.task_id for name, item in got.items()} == stored
    created = [got[name].is_new for got in answers.values() for name in names]
    assert sum(created) == 1000
