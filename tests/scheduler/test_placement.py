"""Placement is a pure function: cases, properties, and its speed."""

from __future__ import annotations

import time
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from mqtasks.model import AsyncTask, LaneSignature, TaskMetadata
from mqtasks.scheduler.fleet import Fleet, RunnerRoom
from mqtasks.scheduler.limits import Openings
from mqtasks.scheduler.placement import Demand, Placement, place
from mqtasks.scheduler.unplaced import Reason

NOW = 1_000_000
STEP = 10_000


def task(task_id: int, priority: int = 0, run_at: int = NOW) -> AsyncTask:
    return AsyncTask(
        id=task_id, metadata=TaskMetadata(str(task_id), "work"), priority=priority, run_at=run_at
    )


def demand(lane: int, tasks: list[AsyncTask], *, more: bool = False, **signature) -> Demand:
    return Demand(lane, LaneSignature("work", **signature), tasks, more)


def runner(runner_id: str = "r", slots: int = 1, most: int | None = None, **fields) -> RunnerRoom:
    fields.setdefault("executors", ("work",))
    return RunnerRoom(id=runner_id, generation=1, parallelism=slots, most=most or slots, **fields)


def placed(placement: Placement) -> list[int]:
    return [item.id for tasks in placement.assigned.values() for item in tasks]


def test_higher_priority_goes_first_then_earlier_then_lower_id():
    lanes = [
        demand(1, [task(1, run_at=NOW - 5)]),
        demand(2, [task(2, priority=3)]),
        demand(3, [task(3, run_at=NOW - 9)]),
        demand(4, [task(5)]),
        demand(5, [task(4)]),
    ]
    assert placed(place(Fleet([runner(slots=5)]), lanes, NOW)) == [2, 3, 1, 4, 5]


def test_lanes_interleave_by_age():
    lanes = [
        demand(1, [task(i, run_at=NOW - 100 + i) for i in (1, 3, 5)]),
        demand(2, [task(i, run_at=NOW - 100 + i) for i in (2, 4, 6)]),
    ]
    assert placed(place(Fleet([runner(slots=4)]), lanes, NOW)) == [1, 2, 3, 4]


def test_a_waiting_head_gains_a_step_per_ageing_interval():
    old = demand(1, [task(1, priority=0, run_at=NOW - 3 * STEP)])
    urgent = demand(2, [task(2, priority=2)])
    assert placed(place(Fleet([runner()]), [urgent, old], NOW, ageing_ms=STEP)) == [1]
    assert placed(place(Fleet([runner()]), [urgent, old], NOW, ageing_ms=2 * STEP)) == [2]


def test_a_lane_without_room_does_not_stop_the_others():
    lanes = [
        demand(1, [task(1, priority=9), task(2, priority=9)], concurrency=1),
        demand(2, [task(3)]),
        demand(3, [task(4, priority=5)], cpu=1.0),
    ]
    result = place(Fleet([runner(slots=5)]), lanes, NOW)
    assert placed(result) == [1, 3]
    assert result.unplaced[1].reason is Reason.CONCURRENCY
    assert result.unplaced[3].reason is Reason.CPU
    assert 2 not in result.unplaced


def test_lanes_of_one_executor_share_its_limit():
    lanes = [
        demand(1, [task(1), task(2)], concurrency=3),
        demand(2, [task(3), task(4)], concurrency=3, memory=1),
    ]
    fleet = Fleet([runner(slots=9, memory=9)], Openings({"work": 1}))
    assert len(placed(place(fleet, lanes, NOW))) == 2


def test_p6_one_runner_is_kept_from_filling_its_waiting_places_for_a_lane_that_needs_a_slot():
    limited = demand(1, [task(1, priority=9)], concurrency=3)
    others = demand(2, [task(i) for i in range(2, 9)])

    def rooms() -> list[RunnerRoom]:
        return [
            RunnerRoom(id=f"r{i}", generation=1, executors=("work",), most=3, live=1)
            for i in range(2)
        ]

    assert place(Fleet(rooms()), [others], NOW).count == 4
    result = place(Fleet(rooms()), [limited, others], NOW)
    assert [len(tasks) for tasks in result.assigned.values()] == [2], "the other one is filled"
    assert set(result.unplaced) == {1, 2}
    behind = demand(1, [task(1, priority=-9)], concurrency=3)
    assert place(Fleet(rooms()), [behind, others], NOW).count == 4
    used_up = Openings({"work": 3})
    assert place(Fleet(rooms(), used_up), [limited, others], NOW).count == 4


def test_nothing_jumps_the_queue_of_a_lane_read_in_part():
    urgent = demand(1, [task(1, priority=5), task(2, priority=5)], more=True)
    result = place(Fleet([runner(slots=9)]), [urgent, demand(2, [task(3)])], NOW)
    assert placed(result) == [1, 2]
    assert result.barrier == 1


def test_no_more_than_asked_for():
    result = place(
        Fleet([runner(slots=9)]), [demand(1, [task(i) for i in range(1, 9)])], NOW, most=3
    )
    assert placed(result) == [1, 2, 3]
    assert result.count == 3


# -- properties ------------------------------------------------------------------------------------

EXECUTORS = ["a", "b", "c"]
LABELS = [(), (("zone", "1"),), (("zone", "2"),)]


@st.composite
def fleets(draw) -> list[RunnerRoom]:
    rooms = []
    for number in range(draw(st.integers(0, 6))):
        slots = draw(st.integers(1, 4))
        rooms.append(
            RunnerRoom(
                id=f"r{number}",
                generation=1,
                executors=tuple(draw(st.sets(st.sampled_from(EXECUTORS)))),
                labels=dict(draw(st.sampled_from(LABELS))),
                parallelism=slots,
                most=slots + draw(st.integers(0, 4)),
                live=draw(st.integers(0, 5)),
                cpu=draw(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0])),
                memory=draw(st.sampled_from([0, 5, 20])),
            )
        )
    return rooms


@st.composite
def demands(draw) -> list[Demand]:
    lanes, next_id = [], 1
    signatures = draw(
        st.lists(
            st.builds(
                LaneSignature,
                st.sampled_from(EXECUTORS),
                st.sampled_from([0, 0, 1, 3]),
                st.sampled_from(LABELS),
                st.sampled_from([0.0, 0.0, 0.5]),
                st.sampled_from([0, 0, 5]),
            ),
            unique=True,
            max_size=8,
        )
    )
    for lane, signature in enumerate(signatures):
        tasks = []
        for _ in range(draw(st.integers(0, 8))):
            tasks.append(
                task(next_id, draw(st.integers(-2, 2)), NOW - draw(st.integers(0, 50_000)))
            )
            next_id += 1
        tasks.sort(key=lambda item: (-item.priority, item.run_at, item.id))
        lanes.append(Demand(lane, signature, tasks))
    return lanes


@settings(max_examples=300, deadline=None)
@given(fleets(), demands(), st.dictionaries(st.sampled_from(EXECUTORS), st.integers(0, 3)))
def test_p6_placement_keeps_every_promise(rooms, lanes, live):
    result = place(Fleet(rooms, Openings(live)), lanes, NOW)
    lane_of = {item.id: lane for lane in lanes for item in lane.tasks}
    ids = placed(result)
    assert len(ids) == len(set(ids)) == result.count

    for i, tasks in result.assigned.items():
        room, free = rooms[i], rooms[i].live
        limited = sum(bool(lane_of[item.id].signature.concurrency) for item in tasks)
        assert free + len(tasks) <= room.most
        assert not limited or free + 1 <= room.parallelism
        assert sum(lane_of[item.id].signature.cpu for item in tasks) <= max(0, room.cpu) + 1e-6
        assert sum(lane_of[item.id].signature.memory for item in tasks) <= room.memory
        for item in tasks:
            signature = lane_of[item.id].signature
            assert signature.executor in room.executors
            assert set(signature.labels) <= set(room.labels.items())

    # Limits hold at each moment, so also for the last task placed under the lowest of them.
    started = Counter(lane_of[i].signature.executor for i in ids)
    for lane in lanes:
        signature = lane.signature
        if signature.concurrency and any(item.id in ids for item in lane.tasks):
            others = [
                other
                for other in lanes
                if other.signature.executor == signature.executor
                and other.signature.concurrency != signature.concurrency
            ]
            if not any(item.id in ids for other in others for item in other.tasks):
                total = live.get(signature.executor, 0) + started[signature.executor]
                assert total <= signature.concurrency

    # A lane is served from its front, and stops only where nothing of it fits any more.
    after = Fleet(
        [_left(rooms[i], i, result, lane_of) for i in range(len(rooms))],
        Openings({name: live.get(name, 0) + started[name] for name in EXECUTORS}),
    )
    # ... or where a slot is to become free for a lane whose tasks may not wait. Its limit may have
    # been used up since, by tasks of its executor that came behind it.
    before = Openings(live)
    passed_by = [
        lane
        for lane in lanes
        if lane.signature.limited
        and before.left(lane.signature)
        and not all(item.id in ids for item in lane.tasks)
    ]
    kept = sum(room.most - room.parallelism for room in rooms) if passed_by else 0
    for lane in lanes:
        served = [item.id in ids for item in lane.tasks]
        assert served == sorted(served, reverse=True)
        if not all(served):
            assert after.room(lane.signature) <= kept
            assert lane.lane in result.unplaced


def _left(room: RunnerRoom, i: int, result: Placement, lane_of: dict[int, Demand]) -> RunnerRoom:
    taken = result.assigned.get(i, [])
    return RunnerRoom(
        id=room.id,
        generation=1,
        executors=room.executors,
        labels=room.labels,
        parallelism=room.parallelism,
        most=room.most,
        live=room.live + len(taken),
        cpu=room.cpu - sum(lane_of[item.id].signature.cpu for item in taken),
        memory=room.memory - sum(lane_of[item.id].signature.memory for item in taken),
    )


@settings(max_examples=100, deadline=None)
@given(demands(), st.integers(1, 12))
def test_tasks_are_taken_in_the_order_of_lane_heads(lanes, slots):
    """With one runner that fits all, the answer is that of comparing all heads for each task."""
    plain = [
        Demand(lane.lane, LaneSignature("work", memory=lane.lane), lane.tasks) for lane in lanes
    ]
    result = place(Fleet([runner(slots=slots, memory=10**6)]), plain, NOW, ageing_ms=STEP)
    rest = [list(lane.tasks) for lane in plain if lane.tasks]
    expected: list[int] = []
    while rest and len(expected) < slots:
        best = min(
            rest,
            key=lambda queue: (
                -queue[0].priority - (NOW - queue[0].run_at) // STEP,
                queue[0].run_at,
                queue[0].id,
            ),
        )
        expected.append(best.pop(0).id)
        rest = [queue for queue in rest if queue]
    assert placed(result) == expected


def test_nothing_starves_behind_a_stream_of_higher_priority():
    """Fresh urgent tasks fill the only slot each second; an old plain one still gets its turn."""
    now, waiting = NOW, demand(1, [task(1, priority=0, run_at=NOW)])
    for second in range(1, 200):
        now = NOW + second * 1000
        urgent = demand(2, [task(second + 1, priority=5, run_at=now)])
        if 1 in placed(place(Fleet([runner()]), [urgent, waiting], now, ageing_ms=STEP)):
            break
    else:
        raise AssertionError("the plain task starved")
    assert 50 <= second <= 61


def test_ten_thousand_tasks_over_a_thousand_runners_take_well_under_100_ms():
    names = tuple(f"e{i}" for i in range(100))
    rooms = [
        RunnerRoom(
            id=f"r{i}", generation=1, executors=names, labels={"zone": str(i % 10)},
            parallelism=8, most=16, cpu=16.0,
        )
        for i in range(1_000)
    ]  # fmt: skip
    lanes = [
        Demand(
            lane,
            LaneSignature(names[lane], 0, (("zone", str(lane % 10)),) if lane % 2 else (), 0.5),
            [task(i, run_at=NOW - 10_000 + i) for i in range(lane + 1, 10_001, 100)],
        )
        for lane in range(100)
    ]
    seconds = []
    for _ in range(5):
        began = time.process_time()
        result = place(Fleet(rooms), lanes, NOW)
        seconds.append(time.process_time() - began)
        assert result.count == 10_000
    assert min(seconds) < 0.1
