"""The reference's operations on task rows: add, update, delete, query; and their relatives."""

from __future__ import annotations

import threading

import pytest
from msgspec.structs import replace

from mqtasks.conditions import where
from mqtasks.errors import InvalidArgument, InvalidCondition, StorageUnavailable
from mqtasks.model import (
    AttemptOutcome,
    ExecuteResult,
    NewTask,
    ResultCode,
    TaskEpoch,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
    lane_of,
)
from mqtasks.storage.contract import RetryRequest
from tests.support.stage import FAILURE, new, row

EVERY_OPTION = TaskOptions(
    max_retry_times=3,
    retry_interval=0.5,
    backoff_factor=1.5,
    backoff_max=60.0,
    jitter=0.25,
    delay_duration=1.5,
    concurrency=7,
    labels={"zone": "a", "gpu": ""},
    cpu=0.5,
    memory=2**40,
    timeout=12.5,
    priority=-5,
    max_reassign_times=2,
    retention=0.0,
    tags=("x", "y"),
)


def every_field(metadata_id):
    return row(
        metadata_id,
        42,
        context=bytes(range(256)),
        options=EVERY_OPTION,
        id=77,
        parent_task_id="parent",
        status=TaskStatus.COMPLETED,
        runner="r9",
        generation=3,
        epoch=4,
        attempt=2,
        crashes=1,
        reassigned=5,
        priority=9,
        lane=12345,
        run_at=1_600_000_000_001,
        last_heartbeat=1_600_000_000_002,
        created_at=1_600_000_000_003,
        started_at=1_600_000_000_004,
        completed_at=1_600_000_000_005,
        execute_result=ExecuteResult(ResultCode.FAILED, "why", b"\0\xff"),
        progress=b"50 \xff",
    )


def test_add_stores_whole_rows_but_numbers_and_places_them_itself(stage):
    task = every_field("t1")
    (task_id,) = stage.add(task)
    assert stage.task(task_id) == replace(task, id=task_id, lane=lane_of(task.metadata))


def test_add_writes_now_where_a_row_has_no_time(stage):
    (task_id,) = stage.add(row("t1"))
    task = stage.task(task_id)
    assert (task.created_at, task.run_at) == (stage.now, stage.now)
    assert (task.last_heartbeat, task.started_at, task.completed_at) == (0, 0, 0)


def test_add_leaves_known_metadata_ids_alone(stage):
    (task_id,) = stage.add(row("t1", parent_task_id="first"))
    again = row("t1", parent_task_id="second")
    assert stage.storage.add(again, row("t2"), row("t2", parent_task_id="twin")) == 1
    tasks = stage.storage.query(where.everything())
    assert [(item.metadata.id, item.parent_task_id) for item in tasks] == [
        ("t1", "first"),
        ("t2", ""),
    ]
    assert tasks[0].id == task_id


def test_empty_batches_do_nothing(stage):
    storage = stage.storage
    assert storage.add() == 0
    assert storage.update([], where.everything()) == 0
    assert storage.create_tasks([]) == []
    assert storage.find([]) == {}
    assert storage.load([]) == []


def test_a_bad_row_in_a_batch_writes_nothing(stage):
    bad = [
        row("", "work"),
        row("t", "123"),
        row("t", -1),
        row("t", parent_task_id="x" * 256),
        row("t", runner="x" * 256),
        row("t", epoch=-1),
        row("t", epoch=2**32),
        row("t", run_at=-1),
        row("t", status=99),
        row("t", priority=2**31),
        row("t", options=TaskOptions(jitter=2)),
        row("t", context="text"),
        row("t", progress="text"),
    ]
    for item in bad:
        with pytest.raises(InvalidArgument):
            stage.storage.add(row("good"), item)
        with pytest.raises(InvalidArgument):
            stage.storage.update([item], where.everything())
    assert stage.storage.query() == []


def test_update_overwrites_all_but_identity_and_creation(stage):
    (task_id,) = stage.create("t1")
    before = stage.task(task_id)
    wanted = replace(every_field("other"), id=task_id)
    assert stage.storage.update([wanted], where.status == TaskStatus.CREATED) == 1
    metadata = replace(wanted.metadata, id="t1")
    assert stage.task(task_id) == replace(
        wanted, metadata=metadata, created_at=before.created_at, lane=lane_of(metadata)
    )
    assert set(stage.storage.find(["t1", "other"])) == {"t1"}


def test_update_counts_matched_rows_even_if_nothing_changes(stage):
    ids = stage.create("t1", "t2", "t3")
    tasks = stage.storage.load(ids)
    assert stage.storage.update(tasks, where.status == TaskStatus.CREATED) == 3
    assert stage.storage.load(ids) == tasks


def test_update_touches_only_rows_where_all_conditions_hold(stage):
    ids = stage.create("t1", "t2", "t3")
    tasks = [replace(item, parent_task_id="p") for item in stage.storage.load(ids)]
    stage.storage.cancel_many([ids[1]])
    matched = stage.storage.update(
        tasks, where.status == TaskStatus.CREATED, where.task_id < ids[2]
    )
    assert matched == 1
    assert [item.parent_task_id for item in stage.storage.load(ids)] == ["p", "", ""]
    assert stage.storage.update([replace(tasks[0], id=ids[2] + 1000)], where.everything()) == 0


def test_update_moves_rows_between_queues(stage):
    ids = stage.create("t1", "t2")
    first, second = stage.storage.load(ids)
    changed = replace(second, priority=1)
    moved = replace(first, metadata=TaskMetadata("t1", "elsewhere"))
    stage.storage.update([changed, moved], where.everything())
    assert stage.storage.lane_tasks(first.lane, 10) == [changed]
    assert [item.id for item in stage.storage.lane_tasks(lane_of(moved.metadata), 10)] == [ids[0]]


@pytest.mark.parametrize("call", ["update", "delete"])
def test_p16_update_and_delete_refuse_to_touch_all_rows_unasked(stage, call):
    stage.create("t1")

    def write(*conditions):
        if call == "update":
            return stage.storage.update(stage.storage.query(), *conditions)
        return stage.storage.delete(*conditions)

    for conditions in [(), (where.task_id_desc(),), (where.limit(1),)]:
        with pytest.raises(InvalidCondition, match=r"everything\(\)|limit"):
            write(*conditions)
    assert len(stage.storage.query()) == 1
    assert write(where.everything()) == 1


def test_update_refuses_a_limit_and_an_order(stage):
    stage.create("t1")
    for condition in (where.limit(1), where.task_id_desc()):
        with pytest.raises(InvalidCondition):
            stage.storage.update(stage.storage.query(), where.everything(), condition)


def test_delete_respects_limit_and_order(stage):
    ids = stage.create(*(f"t{n}" for n in range(6)))
    storage = stage.storage
    assert storage.delete(where.everything(), where.limit(2)) == 2
    assert [item.id for item in storage.query()] == ids[2:]
    assert storage.delete(where.everything(), where.limit(1), where.task_id_desc()) == 1
    assert [item.id for item in storage.query()] == ids[2:5]
    assert storage.delete(where.everything(), where.limit(0)) == 0
    assert storage.delete(where.metadata_id.in_(["t2", "t4", "none"])) == 2
    assert [item.id for item in storage.query()] == [ids[3]]


def test_delete_takes_the_history_along_and_frees_the_metadata_id(stage):
    (task,) = stage.running("t1")
    stage.complete([task], FAILURE)
    assert stage.storage.attempts(task.task_id)
    assert stage.storage.delete(where.task_id == task.task_id) == 1
    assert stage.storage.attempts(task.task_id) == []
    (created,) = stage.storage.create_tasks([new("t1")])
    assert created.is_new
    assert stage.storage.attempts(created.task_id) == []


def test_query_is_ordered_and_limited(stage):
    ids = stage.create(*(f"t{n}" for n in range(5)))
    storage = stage.storage
    assert [item.id for item in storage.query()] == sorted(ids)
    assert [item.id for item in storage.query(where.task_id_desc())] == sorted(ids)[::-1]
    assert [item.id for item in storage.query(where.limit(2), where.task_id_desc())] == ids[:2:-1]
    assert [item.id for item in storage.query(where.limit(3), where.limit(2))] == ids[:2]
    assert storage.query(where.limit(0)) == []
    assert storage.query(where.task_id.in_([])) == []


def test_p16_repeated_conditions_on_a_field_are_anded(stage):
    ids = stage.create(*(f"t{n}" for n in range(5)))
    found = stage.storage.query(where.task_id > ids[0], where.task_id < ids[3])
    assert [item.id for item in found] == ids[1:3]
    assert stage.storage.query(where.task_id == ids[0], where.task_id == ids[1]) == []
    assert len(stage.storage.query(where.task_id != ids[0], where.task_id.in_(ids[:2]))) == 1


def test_records_are_copies_on_their_way_in_and_out(stage):
    labels = {"zone": "a"}
    task = NewTask(TaskMetadata("t1", "work", b"", TaskOptions(labels=labels)))
    plain = NewTask(TaskMetadata("t2", "work", b"", TaskOptions(timeout=1)))
    ids = [item.task_id for item in stage.storage.create_tasks([task, plain])]
    stored = stage.storage.load(ids)
    labels["zone"] = "b"
    plain.metadata.options.labels["zone"] = "c"  # type: ignore[index]  # who ignores the type must not reach storage
    for item in stage.storage.load(ids):
        item.metadata.options.labels["zone"] = "d"
    assert stage.storage.load(ids) == stored
    assert [item.metadata.options.labels for item in stored] == [{"zone": "a"}, {}]


def test_find_and_load_answer_what_is_stored(stage):
    ids = stage.create("t1", "t2", "t3")
    found = stage.storage.find(iter(["t3", "none", "t1", "t1"]))
    assert {key: item.id for key, item in found.items()} == {"t1": ids[0], "t3": ids[2]}
    loaded = stage.storage.load([ids[2], ids[0], ids[2], ids[2] + 1000])
    assert [item.id for item in loaded] == [ids[0], ids[2]]
    assert loaded == [found["t1"], found["t3"]]


def test_attempts_are_listed_by_ascending_epoch(stage):
    (task,) = stage.running("t1")
    for epoch in range(1, 13):
        retry = RetryRequest(task.task_id, epoch, 0, f"failure {epoch}", "trace", 250)
        stage.storage.retry_many("r1", [retry])
        stage.storage.promote_due(1)
        stage.allocate([task.task_id])
    attempts = stage.storage.attempts(task.task_id)
    assert [item.epoch for item in attempts] == list(range(1, 13))
    assert attempts[0].error == "failure 1"
    assert attempts[0].outcome == AttemptOutcome.FAILED
    assert (attempts[0].started_at, attempts[0].ended_at) == (stage.now - 250, stage.now)
    assert stage.storage.attempts(task.task_id + 1000) == []


def test_count_by_status_is_capped(stage):
    stage.create("a", "b", "c")
    stage.create("later", delay_duration=60)
    (task,) = stage.running("d")
    stage.complete([task])
    counts = stage.storage.count_by_status(100)
    assert [counts[status] for status in TaskStatus] == [3, 0, 1, 0, 1, 0, 0]
    assert stage.storage.count_by_status(2)[TaskStatus.CREATED] == 2


def test_now_ms_is_the_clock_of_the_database(stage):
    assert stage.storage.now_ms() == stage.now
    stage.clock.advance(1.5)
    assert stage.storage.now_ms() == stage.now


def test_server_identity_stays_while_the_same_server_answers(stage):
    identity = stage.storage.server_identity()
    assert identity
    stage.create("t1")
    assert stage.storage.server_identity() == identity


def test_server_identity_is_the_same_for_everybody(stage, opener):
    assert opener(stage.clock).server_identity() == stage.storage.server_identity()


def test_nothing_is_interrupted_where_no_thread_waits(stage):
    assert stage.storage.interrupt(threading.get_ident()) is False
    assert stage.storage.interrupt(0) is False
    assert stage.create("t1")


def test_change_count_moves_with_every_commit(stage, opener):
    if not stage.storage.capabilities.change_counter:
        assert stage.storage.change_count() is None
        pytest.skip("this storage has no change counter")
    other = opener(stage.clock)
    before = stage.storage.change_count()
    assert before is not None
    assert stage.storage.change_count() == before
    other.create_tasks([new("t1")])
    assert stage.storage.change_count() != before


def test_the_schema_of_a_new_storage_is_known(stage):
    stage.storage.check_schema()


def test_close_is_idempotent_and_final(stage):
    stage.storage.close()
    stage.storage.close()
    for call in (
        stage.storage.query,
        stage.storage.now_ms,
        lambda: stage.storage.create_tasks([new("t1")]),
        lambda: stage.storage.heartbeat_many("r1", [TaskEpoch(1, 1)]),
    ):
        with pytest.raises(StorageUnavailable):
            call()
