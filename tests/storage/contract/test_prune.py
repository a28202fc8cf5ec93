"""Retention: ended rows are deleted in chunks by primary key."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mqtasks.conditions import where
from mqtasks.model import ExecuteResult, ResultCode, TaskOptions, TaskStatus
from mqtasks.storage.contract import PruneReport
from tests.support.stage import row

DAY = 86_400_000
KEEP = {"success_ms": 7 * DAY, "failure_ms": 30 * DAY}
SUCCEEDED = {"status": TaskStatus.COMPLETED, "execute_result": ExecuteResult()}
FAILED = {
    "status": TaskStatus.COMPLETED,
    "execute_result": ExecuteResult(ResultCode.FAILED, "boom"),
}
CANCELED = {"status": TaskStatus.CANCELED}


def ended(stage, metadata_id, age_ms, fields, retention=None):
    at = stage.now - age_ms
    options = TaskOptions(retention=retention)
    (task_id,) = stage.add(
        row(metadata_id, options=options, created_at=at, completed_at=at, **fields)
    )
    return task_id


def sweep(stage, limit=100):
    deleted = next_id = 0
    while True:
        report = stage.storage.prune(next_id, limit, **KEEP)
        deleted += report.deleted
        assert report.next_id == 0 or report.next_id > next_id
        next_id = report.next_id
        if not next_id:
            return deleted


@pytest.mark.parametrize(
    ("fields", "age_ms", "retention", "goes"),
    [
        (SUCCEEDED, 7 * DAY, None, True),
        (SUCCEEDED, 7 * DAY - 1, None, False),
        (FAILED, 30 * DAY, None, True),
        (FAILED, 30 * DAY - 1, None, False),
        (CANCELED, 30 * DAY, None, True),
        (CANCELED, 30 * DAY - 1, None, False),
        (SUCCEEDED, 0, 0.0, True),
        (SUCCEEDED, 1500, 1.5, True),
        (SUCCEEDED, 1499, 1.5, False),
        (FAILED, 1000, 1.0, True),
        (CANCELED, 1000, 1.0, True),
        (SUCCEEDED, 365 * DAY, 366 * 86_400.0, False),
        (FAILED, 365 * DAY, 366 * 86_400.0, False),
        ({"status": TaskStatus.CREATED}, 365 * DAY, 0.0, False),
        ({"status": TaskStatus.SCHEDULED}, 365 * DAY, 0.0, False),
        ({"status": TaskStatus.RUNNING}, 365 * DAY, 0.0, False),
        ({"status": TaskStatus.CANCEL_REQUESTED}, 365 * DAY, 0.0, False),
    ],
)
def test_a_row_goes_when_it_has_ended_and_its_retention_is_over(
    stage, fields, age_ms, retention, goes
):
    task_id = ended(stage, "t1", age_ms, fields, retention)
    assert stage.storage.prune(0, 100, **KEEP).deleted == goes
    assert bool(stage.storage.load([task_id])) is not goes


def test_pruning_takes_the_history_along(stage):
    stage.register()
    (task,) = stage.allocate(stage.create("t1"))
    stage.complete([task], ExecuteResult(ResultCode.FAILED, "boom"))
    assert len(stage.storage.attempts(task.task_id)) == 1
    stage.clock.advance(30 * DAY / 1000)
    assert stage.storage.prune(0, 100, **KEEP) == PruneReport(1, 0)
    assert stage.storage.attempts(task.task_id) == []


def test_a_chunk_looks_at_rows_in_id_order_from_an_id_on(stage):
    old = [ended(stage, f"old {n}", 8 * DAY, SUCCEEDED) for n in range(3)]
    kept = [ended(stage, f"kept {n}", 8 * DAY, FAILED) for n in range(3)]
    more = [ended(stage, f"more {n}", 8 * DAY, SUCCEEDED) for n in range(3)]
    first = stage.storage.prune(0, 4, **KEEP)
    assert first.deleted == 3
    assert kept[0] < first.next_id <= kept[1]
    second = stage.storage.prune(first.next_id, 3, **KEEP)
    assert second.deleted == 1
    third = stage.storage.prune(second.next_id, 100, **KEEP)
    assert third == PruneReport(2, 0)
    assert [item.id for item in stage.storage.query()] == kept
    assert stage.storage.load(old + more) == []


def test_rows_before_the_first_id_are_not_touched(stage):
    ids = [ended(stage, f"t{n}", 8 * DAY, SUCCEEDED) for n in range(4)]
    assert stage.storage.prune(ids[2], 100, **KEEP).deleted == 2
    assert [item.id for item in stage.storage.query()] == ids[:2]


def test_a_sweep_visits_every_row_past_its_retention_and_ends(stage):
    for n in range(40):
        ended(stage, f"t{n}", (40 - n) * DAY, SUCCEEDED if n % 2 else FAILED)
    assert sweep(stage, limit=7) == 23
    assert sweep(stage, limit=7) == 0
    left = stage.storage.query()
    assert len(left) == 17
    assert all(stage.now - item.completed_at < 30 * DAY for item in left)


def test_a_sweep_over_nothing_is_done_at_once(stage):
    assert stage.storage.prune(0, 10, **KEEP) == PruneReport(0, 0)
    assert stage.storage.prune(10**6, 10, **KEEP) == PruneReport(0, 0)


def test_a_sweep_ends_where_nothing_can_be_past_its_retention(stage):
    for n in range(5):
        ended(stage, f"old {n}", 10 * DAY, SUCCEEDED)
    for n in range(20):
        ended(stage, f"young {n}", DAY, SUCCEEDED)
    assert stage.storage.prune(0, 10, **KEEP) == PruneReport(5, 0)


@pytest.mark.parametrize("how", ["added", "created", "edited"])
def test_a_sweep_finds_a_short_retention_of_its_own_among_younger_rows(stage, how):
    for n in range(20):
        ended(stage, f"young {n}", DAY, SUCCEEDED)
    if how == "added":
        ended(stage, "short", DAY, SUCCEEDED, 60.0)
    elif how == "created":
        (task,) = stage.running("short", retention=60.0)
        stage.complete([task])
    else:
        task_id = ended(stage, "short", DAY, SUCCEEDED)
        task = stage.task(task_id)
        metadata = replace(task.metadata, options=TaskOptions(retention=60.0))
        stage.storage.update([replace(task, metadata=metadata)], where.task_id == task_id)
    stage.clock.advance(60)
    assert sweep(stage, limit=5) == 1
    assert stage.storage.find(["short"]) == {}
