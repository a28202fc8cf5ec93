"""Records of cron firings: each moment once, whoever fires and however often (P12)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mqtasks.errors import InvalidArgument
from mqtasks.model import (
    CronFiring,
    CronPolicy,
    FiredTask,
    FiringKind,
    FiringState,
    NewFiring,
    NewTask,
    TaskMetadata,
    TaskStatus,
    extra_firing_id,
    firing_id,
)
from mqtasks.storage.contract import Trigger
from tests.storage.contract.test_cron import HOUR, NOW, cron, firing
from tests.support.stage import FAILURE, row

SCHEDULED, MANUAL, BACKFILL = FiringKind


@pytest.fixture
def stored(stage):
    stage.storage.add_cron_task(cron("nightly"))
    return stage.storage.find_cron_task("nightly")


def extra(name, kind, at, **fields):
    metadata = TaskMetadata(extra_firing_id(name, kind, at), "work")
    return NewFiring(at, metadata, **fields)


def scheduled(stage, name="nightly"):
    return stage.storage.cron_firings(name, 10, SCHEDULED)


def test_one_definition_is_found_whole(stage):
    policy = CronPolicy(misfire="all", overlap="skip", end_at=NOW)
    wanted = cron(
        "nightly", policy=policy, app="shop", digest="d", paused=True, pause_reason="why",
        counted_from=3,
    )  # fmt: skip
    stage.storage.add_cron_task(wanted, cron("other"))
    found = stage.storage.find_cron_task("nightly")
    assert found == replace(wanted, id=found.id, created_at=stage.now, updated_at=stage.now)
    assert found in stage.storage.query_cron_task()
    edit = replace(found, policy=CronPolicy(jitter=2), app="", digest="e", counted_from=4)
    assert stage.storage.edit_cron_task(edit)
    assert stage.storage.find_cron_task("nightly") == replace(edit, version=1)
    stage.storage.delete_cron_task("nightly")
    assert stage.storage.find_cron_task("nightly") is None
    assert stage.storage.find_cron_task("never") is None


def test_a_bad_policy_writes_nothing(stage, stored):
    bad = CronPolicy(concurrency=-1)
    with pytest.raises(InvalidArgument, match="concurrency"):
        stage.storage.add_cron_task(cron("other", policy=bad))
    with pytest.raises(InvalidArgument, match="concurrency"):
        stage.storage.edit_cron_task(replace(stored, policy=bad))
    assert stage.storage.query_cron_task() == [stored]


def test_p12_a_trigger_records_its_moment_and_its_task(stage, stored):
    stage.clock.advance(1)
    assert stage.storage.trigger_many([firing(stored)]) == [True]
    assert scheduled(stage) == [
        CronFiring(SCHEDULED, NOW, FiringState.FIRED, "nightly:1", stage.now)
    ]
    following = replace(stored, trigger_times=2, next_time=NOW + 2 * HOUR)
    assert stage.storage.update_cron_task(following, row("nightly:2")) == 2
    assert [item.fire_time for item in scheduled(stage)] == [NOW + HOUR, NOW]
    assert stage.storage.cron_firings("nightly", 1, SCHEDULED, NOW)[0].fire_time == NOW
    assert stage.storage.cron_firings("never", 10, SCHEDULED) == []


def test_p12_a_firing_that_is_left_out_moves_the_row_and_makes_nothing(stage, stored):
    later = replace(stored, next_time=NOW + HOUR)
    skip = Trigger(stored, NOW + HOUR, None, NOW, FiringState.SKIPPED)
    miss = Trigger(later, NOW + 3 * HOUR, None, NOW + 2 * HOUR, FiringState.MISSED)
    assert stage.storage.trigger_many([skip, miss]) == [True, True]
    assert stage.storage.trigger_many([skip, miss]) == [False, False]
    assert [(item.fire_time, item.state, item.task) for item in scheduled(stage)] == [
        (NOW + 2 * HOUR, FiringState.MISSED, ""),
        (NOW, FiringState.SKIPPED, ""),
    ]
    moved = stage.storage.find_cron_task("nightly")
    assert (moved.next_time, moved.trigger_times, moved.version) == (NOW + 3 * HOUR, 0, 0)
    assert stage.storage.query() == []
    with pytest.raises(InvalidArgument, match="FIRED exactly if"):
        stage.storage.trigger_many([replace(skip, state=FiringState.FIRED)])


def test_p12_a_scheduler_that_read_before_the_row_moved_on_is_refused(stage, stored):
    skip = Trigger(stored, NOW + HOUR, None, NOW, FiringState.SKIPPED)
    assert stage.storage.trigger_many([skip]) == [True]
    assert stage.storage.trigger_many([firing(stored)]) == [False]
    assert stage.storage.query() == []


def test_p12_a_moment_that_comes_again_is_passed_by(stage, stored):
    """An edit, or a clock that is set back, lets a definition be due for it once more."""
    assert stage.storage.trigger_many([firing(stored)]) == [True]
    fired = stage.storage.find_cron_task("nightly")
    assert stage.storage.edit_cron_task(replace(fired, next_time=NOW))
    stage.storage.add_cron_task(cron("other"))
    again = stage.storage.find_cron_task("nightly")
    other = stage.storage.find_cron_task("other")
    assert stage.storage.trigger_many([firing(again), firing(other)]) == [False, True]
    passed = stage.storage.find_cron_task("nightly")
    assert (passed.next_time, passed.trigger_times) == (NOW + HOUR, 1)
    assert sorted(task.metadata.id for task in stage.storage.query()) == ["nightly:1", "other:1"]
    # The reference's operation cannot tell the two apart, and writes nothing.
    assert stage.storage.edit_cron_task(replace(passed, next_time=NOW))
    following = replace(passed, version=2, trigger_times=2)
    assert stage.storage.update_cron_task(following, row("nightly:2")) == 0


def test_p12_firings_beside_the_schedule_happen_once_for_each_kind_and_moment(stage, stored):
    stage.storage.trigger_many([firing(stored)])
    read = stage.storage.find_cron_task("nightly")
    stage.clock.advance(1)
    for kind in (MANUAL, BACKFILL):
        batch = [extra("nightly", kind, NOW), extra("nightly", kind, NOW - 5, run_at=NOW + HOUR)]
        assert stage.storage.add_firings(read, kind, [*batch, batch[0]]) == [True, True, False]
        assert stage.storage.add_firings(read, kind, batch) == [False, False]
        assert stage.storage.cron_firings("nightly", 10, kind) == [
            CronFiring(kind, NOW, FiringState.FIRED, batch[0].task_metadata.id, stage.now),
            CronFiring(kind, NOW - 5, FiringState.FIRED, batch[1].task_metadata.id, stage.now),
        ]
    assert stage.storage.find_cron_task("nightly") == read
    tasks = stage.storage.find(["nightly:manual:1700000000000", "nightly:manual:1699999999995"])
    assert [(item.status, item.parent_task_id) for item in tasks.values()] == [
        (TaskStatus.CREATED, "nightly"),
        (TaskStatus.SCHEDULED, "nightly"),
    ]
    assert len(stage.storage.query()) == 5
    assert stage.storage.add_firings(read, MANUAL, []) == []


def test_p12_an_edited_or_deleted_definition_is_not_fired_by_who_read_it_before(stage, stored):
    stage.storage.edit_cron_task(replace(stored, paused=True))
    batch = [extra("nightly", MANUAL, NOW)]
    assert stage.storage.add_firings(stored, MANUAL, batch) == [False]
    paused = stage.storage.find_cron_task("nightly")
    assert stage.storage.add_firings(paused, MANUAL, batch) == [True]
    stage.storage.delete_cron_task("nightly")
    assert stage.storage.add_firings(paused, MANUAL, [extra("nightly", MANUAL, 1)]) == [False]
    assert stage.storage.add_firings(cron("never"), MANUAL, [extra("x", MANUAL, 1)]) == [False]


def test_p12_a_moment_that_was_fired_stays_so_when_its_task_is_gone(stage, stored):
    batch = [extra("nightly", BACKFILL, at) for at in range(NOW, NOW + 5)]
    assert stage.storage.add_firings(stored, BACKFILL, batch[:2]) == [True, True]
    stage.storage.prune(0, 10, 0, 0)
    for task in stage.storage.query():
        stage.storage.cancel_many([task.id])
    stage.storage.prune(0, 10, 0, 0)
    assert stage.storage.query() == []
    assert stage.storage.add_firings(stored, BACKFILL, batch) == [False, False, True, True, True]


def test_what_became_of_firings_is_told_latest_first(stage, stored):
    stage.storage.add_cron_task(cron("idle"))
    for number in range(3):
        read = stage.storage.find_cron_task("nightly")
        assert stage.storage.trigger_many([firing(read)]) == [True], number
    read = stage.storage.find_cron_task("nightly")
    idle = stage.storage.find_cron_task("idle")
    # The manual one is of now; a backfill does not count, nor what is older than a day.
    stage.storage.add_firings(read, MANUAL, [extra("nightly", MANUAL, stage.now - 1)])
    stage.storage.add_firings(read, MANUAL, [extra("nightly", MANUAL, stage.now - 86_400_000)])
    stage.storage.add_firings(read, BACKFILL, [extra("nightly", BACKFILL, stage.now - 1)])
    ids = {task.metadata.id: task.id for task in stage.storage.query()}
    stage.register()
    (second,) = stage.allocate([ids["nightly:2"]])
    stage.complete([second], FAILURE)
    stage.storage.cancel_many([ids["nightly:1"]])
    manual = f"nightly:manual:{stage.now - 1}"
    created, completed, canceled = TaskStatus.CREATED, TaskStatus.COMPLETED, TaskStatus.CANCELED
    assert stage.storage.fired_tasks([read, idle], 3) == {
        "nightly": [
            FiredTask(ids["nightly:3"], "nightly:3", created, failed=False),
            FiredTask(ids["nightly:2"], "nightly:2", completed, failed=True),
            FiredTask(ids["nightly:1"], "nightly:1", canceled, failed=False),
            FiredTask(ids[manual], manual, created, failed=False),
        ],
        "idle": [],
    }
    latest = stage.storage.fired_tasks([read], 1)["nightly"]
    assert [item.metadata_id for item in latest] == ["nightly:3", manual]
    assert stage.storage.fired_tasks([], 3) == {}


def test_old_records_are_pruned_the_oldest_first_and_in_batches(stage, stored):
    for at in range(5):
        stage.storage.add_firings(stored, BACKFILL, [extra("nightly", BACKFILL, 100 - at)])
        stage.clock.advance(1)
    assert stage.storage.prune_firings(10, 60_000) == 0
    assert stage.storage.prune_firings(2, 2_000) == 2
    kept = stage.storage.cron_firings("nightly", 10, BACKFILL)
    assert [item.fire_time for item in kept] == [98, 97, 96]
    assert stage.storage.prune_firings(10, 2_000) == 2
    assert stage.storage.prune_firings(10, 2_000) == 0


def test_p12_five_hundred_definitions_follow_each_other_in_one_batch(stage):
    names = [f"cron {n:03}" for n in range(250)]
    stage.storage.add_cron_task(*map(cron, names))
    first = [firing(item) for item in stage.storage.query_cron_task()]
    second = [
        Trigger(
            replace(item.cron, trigger_times=1, next_time=item.next_time),
            item.next_time + HOUR,
            NewTask(replace(item.cron.metadata, id=firing_id(item.cron.metadata.id, 2))),
        )
        for item in first
    ]
    assert stage.storage.trigger_many([*first, *second]) == [True] * 500
    assert {item.trigger_times for item in stage.storage.query_cron_task()} == {2}
    assert len(stage.storage.query()) == 500
    assert [item.task for item in scheduled(stage, names[7])] == ["cron 007:2", "cron 007:1"]
