"""The scheduler's side of the queue: promotion, lanes, counts."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from mqtasks.model import LaneSignature, TaskEpoch, TaskStatus, hash_signature, lane_of
from mqtasks.storage.contract import LaneLoad, LaneSample, Owned, RetryRequest
from tests.support.stage import new, row


def ids_of(tasks):
    return [item.id for item in tasks]


def scheduled(stage, *delays):
    tasks = [new(f"in {delay} s", delay_duration=delay) for delay in delays]
    return [item.task_id for item in stage.storage.create_tasks(tasks)]


def test_promote_turns_what_is_due_into_created_earliest_first(stage):
    late, early, middle, far = scheduled(stage, 3, 1, 2, 60)
    assert stage.storage.promote_due(10) == 0
    stage.clock.advance(3)
    assert stage.storage.promote_due(2) == 2
    states = [stage.status(item) for item in (early, middle, late, far)]
    assert states == [TaskStatus.CREATED] * 2 + [TaskStatus.SCHEDULED] * 2
    assert stage.storage.promote_due(10) == 1
    assert stage.status(late) is TaskStatus.CREATED
    assert stage.storage.promote_due(10) == 0
    assert stage.storage.promote_due(0) == 0


def test_promotion_changes_nothing_but_the_status(stage):
    (task_id,) = stage.add(
        row(
            "t1",
            status=TaskStatus.SCHEDULED,
            epoch=3,
            attempt=2,
            crashes=1,
            reassigned=4,
            priority=7,
            run_at=stage.now,
            progress=b"half",
        )
    )
    before = stage.task(task_id)
    assert stage.storage.promote_due(1) == 1
    assert stage.task(task_id) == replace(before, status=TaskStatus.CREATED)


def test_next_due_is_told_to_the_millisecond(stage):
    assert stage.storage.next_due_in_ms() is None
    scheduled(stage, 2, 0.25)
    assert stage.storage.next_due_in_ms() == 250
    stage.clock.advance(0.25)
    assert stage.storage.next_due_in_ms() == 0
    stage.clock.advance(1)
    assert stage.storage.next_due_in_ms() == -1000
    assert stage.storage.promote_due(1) == 1
    assert stage.storage.next_due_in_ms() == 750
    stage.clock.advance(5)
    assert stage.storage.promote_due(1) == 1
    assert stage.storage.next_due_in_ms() is None


def test_lanes_with_created_rows_are_listed_ascending_from_after_on(stage):
    executors = [f"executor {n}" for n in range(9)]
    for executor in executors:
        stage.create(f"{executor} a", f"{executor} b", executor=executor)
    lanes = sorted({item.lane for item in stage.storage.query()})
    assert len(lanes) == 9
    assert stage.storage.lanes(0, 100) == lanes
    assert stage.storage.lanes(0, 4) == lanes[:4]
    assert stage.storage.lanes(lanes[3], 4) == lanes[4:8]
    assert stage.storage.lanes(lanes[3] - 1, 1) == [lanes[3]]
    assert stage.storage.lanes(lanes[8], 4) == []
    assert stage.storage.lanes(0, 0) == []


def test_a_lane_is_listed_only_while_it_holds_created_rows(stage):
    (task,) = stage.running("running", executor="a")
    stage.create("later", executor="b", delay_duration=60)
    (canceled,) = stage.create("canceled", executor="c")
    stage.storage.cancel_many([canceled])
    assert stage.storage.lanes(0, 10) == []
    stage.storage.release_many("r1", [task], "drain")
    assert stage.storage.lanes(0, 10) == [stage.task(task.task_id).lane]


def test_lanes_reach_to_the_highest_number(stage):
    lane = hash_signature(LaneSignature("x"))
    assert 0 < lane < 2**63
    assert stage.storage.lanes(2**63 - 1, 10) == []


def test_a_lane_is_ordered_by_priority_then_due_time_then_id(stage):
    now = stage.now
    named = {
        "low": {"priority": -1},
        "late": {},
        "early": {"run_at": now - 10},
        "twin": {"run_at": now - 10},
        "high": {"priority": 2**31 - 1},
        "lowest": {"priority": -(2**31) + 1},
        "next": {"priority": 5},
    }
    tasks = stage.add(*(row(name, **{"run_at": now, **fields}) for name, fields in named.items()))
    (lane,) = stage.storage.lanes(0, 10)
    wanted = ["high", "next", "early", "twin", "late", "low", "lowest"]
    assert [item.metadata.id for item in stage.storage.lane_tasks(lane, 100)] == wanted
    assert [item.metadata.id for item in stage.storage.lane_tasks(lane, 3)] == wanted[:3]
    assert stage.storage.lane_tasks(lane, 1) == [stage.task(tasks[4])]
    assert stage.storage.lane_tasks(lane, 0) == []
    assert stage.storage.lane_tasks(lane + 1, 5) == []


def test_promoted_rows_take_their_place_by_priority(stage):
    stage.create("plain")
    due = {"status": TaskStatus.SCHEDULED, "run_at": stage.now + 1000}
    stage.add(row("urgent", priority=5, **due), row("idle", priority=-5, **due))
    (lane,) = stage.storage.lanes(0, 10)
    assert [item.metadata.id for item in stage.storage.lane_tasks(lane, 9)] == ["plain"]
    stage.clock.advance(1)
    stage.storage.promote_due(10)
    order = [item.metadata.id for item in stage.storage.lane_tasks(lane, 9)]
    assert order == ["urgent", "plain", "idle"]


def test_a_retried_row_takes_its_place_by_priority_again(stage):
    stage.register()
    (task,) = stage.allocate(stage.add(row("urgent", priority=5)))
    stage.create("plain")
    stage.storage.retry_many("r1", [RetryRequest(task.task_id, 1, 1000, "boom")])
    stage.clock.advance(1)
    stage.storage.promote_due(10)
    (lane,) = stage.storage.lanes(0, 10)
    order = [item.metadata.id for item in stage.storage.lane_tasks(lane, 9)]
    assert order == ["urgent", "plain"]


def test_p7_tasks_placed_alike_share_a_lane_and_others_do_not(stage):
    groups = [
        [new("a1"), new("a2", timeout=5, tags=("x",))],
        [new("p1", priority=9)],
        [new("b1", concurrency=2)],
        [new("c1", labels={"x": "1", "y": "2"}), new("c2", labels={"y": "2", "x": "1"})],
        [new("d1", cpu=1), new("d2", cpu=1.0)],
        [new("e1", memory=1)],
        [new("f1", "other")],
        [new("g1", 7)],
    ]
    for group in groups:
        stage.storage.create_tasks(group)
    lanes = stage.storage.lanes(0, 100)
    assert len(lanes) == len(groups)
    by_lane = {
        frozenset(item.metadata.id for item in stage.storage.lane_tasks(lane, 10)) for lane in lanes
    }
    assert by_lane == {frozenset(item.metadata.id for item in group) for group in groups}


def test_live_load_counts_live_rows_by_runner_and_lane(stage):
    stage.register("r1")
    stage.register("r2")
    mine = stage.allocate(stage.create("a", "b", "c"), "r1")
    stage.allocate(stage.create("d", executor="other"), "r1")
    stage.allocate(stage.create("e"), "r2")
    stage.create("waiting")
    stage.storage.cancel_many([mine[0].task_id])  # CANCEL_REQUESTED stays live
    stage.complete([mine[1]])
    work, other = lane_of(new("x").metadata), lane_of(new("x", "other").metadata)
    assert sorted(stage.storage.live_load(), key=repr) == sorted(
        [LaneLoad("r1", work, 2), LaneLoad("r1", other, 1), LaneLoad("r2", work, 1)], key=repr
    )


def test_lane_signatures_are_told_for_lanes_with_live_or_created_rows(stage):
    placed: dict[str, Any] = {
        "concurrency": 3,
        "labels": {"b": "2", "a": "1"},
        "cpu": 0.5,
        "memory": 10,
    }
    stage.running("live", executor=7, **placed)
    stage.create("created")
    stage.create("later", executor="later", delay_duration=60)
    (done,) = stage.running("done", executor="done")
    stage.complete([done])
    lanes = sorted({item.lane for item in stage.storage.query()})
    samples = stage.storage.lane_signatures([*lanes, 1, lanes[0]])
    assert sorted(samples, key=repr) == sorted(
        [
            LaneSample(
                lane_of(new("x", 7, **placed).metadata),
                LaneSignature("0000000007", 3, (("a", "1"), ("b", "2")), 0.5, 10),
            ),
            LaneSample(lane_of(new("x").metadata), LaneSignature("work")),
        ],
        key=repr,
    )
    assert all(hash_signature(item.signature) == item.lane for item in samples)
    assert stage.storage.lane_signatures([]) == []


def test_owned_lists_live_rows_of_one_generation(stage):
    first = stage.running("a", "b", "c")
    stage.running("other", runner_id="r2")
    stage.storage.cancel_many([first[1].task_id])
    stage.complete([first[2]])
    owned = stage.storage.owned("r1", 1)
    assert sorted(owned, key=lambda item: item.task_id) == [
        Owned(first[0].task_id, 1, TaskStatus.RUNNING),
        Owned(first[1].task_id, 1, TaskStatus.CANCEL_REQUESTED),
    ]
    assert stage.storage.owned("r1", 2) == []
    assert stage.storage.owned("nobody", 1) == []


def test_release_unstarted_gives_back_what_storage_does_not_know_as_started(stage):
    started, waiting, asked, asked_started = stage.running("a", "b", "c", "d")
    (elsewhere,) = stage.running("e", runner_id="r2")
    stage.storage.mark_started("r1", [started, asked_started])
    stage.storage.cancel_many([asked.task_id, asked_started.task_id])
    assert stage.storage.release_unstarted("r1", 7, "drain") == 0
    assert stage.storage.release_unstarted("r1", 1, "drain") == 2
    assert stage.storage.release_unstarted("r1", 1, "drain") == 0
    states = [
        stage.status(item.task_id) for item in (started, waiting, asked, asked_started, elsewhere)
    ]
    assert states == [
        TaskStatus.RUNNING,
        TaskStatus.CREATED,
        TaskStatus.CANCELED,
        TaskStatus.CANCEL_REQUESTED,
        TaskStatus.RUNNING,
    ]
    assert stage.attempt(waiting.task_id).error == "drain"
    assert stage.task(waiting.task_id).epoch == 1


def test_thousands_of_rows_pass_through_each_batch_operation(stage):
    """Batches beyond any limit on bound parameters are chunked inside one transaction."""
    count = 3000
    ids = stage.create(*(f"t{n}" for n in range(count)))
    assert ids == sorted(ids)
    stage.register()
    (lane,) = stage.storage.lanes(0, 10)
    assert ids_of(stage.storage.lane_tasks(lane, count)) == ids
    tasks = stage.allocate(ids)
    assert ids_of(stage.storage.load(ids)) == ids
    assert len(stage.storage.find([f"t{n}" for n in range(count)])) == count
    for operation in (stage.storage.mark_started, stage.storage.heartbeat_many):
        report = operation("r1", tasks)
        assert (report.lost, report.canceled) == ((), ())
    lost = stage.storage.heartbeat_many("r1", [*tasks, TaskEpoch(ids[-1] + 1000, 1)]).lost
    assert lost == (ids[-1] + 1000,)
    assert stage.complete(tasks[:1000]).lost == ()
    retries = [RetryRequest(item.task_id, 1, 0, "boom") for item in tasks[1000:2000]]
    assert stage.storage.retry_many("r1", retries).lost == ()
    assert stage.storage.release_many("r1", tasks[2000:], "drain").lost == ()
    assert stage.storage.promote_due(count) == 1000
    assert len(stage.storage.cancel_many(ids).canceled) == 2000
    assert len(stage.storage.requeue_many(ids)) == 2000
    counts = stage.storage.count_by_status(10**6)
    assert (counts[TaskStatus.CREATED], counts[TaskStatus.COMPLETED]) == (2000, 1000)
