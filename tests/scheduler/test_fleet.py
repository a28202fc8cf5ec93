"""What a runner fits, what room it has, and why a task waits."""

from __future__ import annotations

import pytest

from mqtasks.model import LaneSignature
from mqtasks.scheduler.fleet import FitIndex, Fleet, RunnerRoom
from mqtasks.scheduler.limits import Openings
from mqtasks.scheduler.unplaced import Reason

GPU = (("gpu", "a100"),)


def room(runner_id: str, **fields) -> RunnerRoom:
    fields.setdefault("executors", ("work",))
    fields.setdefault("parallelism", 2)
    fields.setdefault("most", 4)
    return RunnerRoom(id=runner_id, generation=1, **fields)


def take_all(fleet: Fleet, signature: LaneSignature) -> list[str]:
    heap = fleet.heap(signature)
    taken = []
    while (i := fleet.take(heap, signature)) >= 0:
        taken.append(fleet.rooms[i].id)
    return taken


def test_least_loaded_first_whatever_their_size():
    fleet = Fleet([room("small", parallelism=2, most=2), room("large", parallelism=4, most=4)])
    assert take_all(fleet, LaneSignature("work")) == [
        "small", "large", "large", "small", "large", "large",
    ]  # fmt: skip


def test_the_turn_decides_among_equals():
    rooms = [room("a"), room("b"), room("c")]
    first = []
    for turn in range(4):
        fleet = Fleet(rooms, turn=turn)
        signature = LaneSignature("work")
        first.append(rooms[fleet.take(fleet.heap(signature), signature)].id)
    assert first == ["a", "b", "c", "a"]


def test_slots_are_filled_before_anything_waits():
    fleet = Fleet([room("busy", live=2), room("idle")])
    assert take_all(fleet, LaneSignature("work"))[:2] == ["idle", "idle"]


def test_only_slots_count_for_tasks_under_a_limit():
    fleet = Fleet([room("r", live=1)])
    limited = LaneSignature("work", concurrency=10)
    assert fleet.room(limited) == 1
    assert fleet.room(LaneSignature("work")) == 3
    assert take_all(fleet, limited) == ["r"]


def test_reservations_are_kept_and_floats_add_up():
    fleet = Fleet([room("r", parallelism=10, most=10, cpu=0.3, memory=100)])
    signature = LaneSignature("work", cpu=0.1, memory=10)
    assert fleet.room(signature) == 3
    assert take_all(fleet, signature) == ["r"] * 3
    assert fleet.room(LaneSignature("work", memory=10)) == 7


def test_labels_and_executors_select():
    fleet = Fleet(
        [
            room("plain"),
            room("gpu", labels={"gpu": "a100", "zone": "1"}),
            room("other", executors=("else",), labels={"gpu": "a100"}),
        ]
    )
    assert set(take_all(fleet, LaneSignature("work", labels=GPU))) == {"gpu"}
    assert set(take_all(fleet, LaneSignature("else"))) == {"other"}


def test_two_lanes_that_fit_the_same_runners_share_their_room():
    fleet = Fleet([room("r", executors=("a", "b"))])
    assert take_all(fleet, LaneSignature("a")) == ["r"] * 4
    assert take_all(fleet, LaneSignature("b")) == []


def test_overlapping_pools_see_what_the_other_took():
    fleet = Fleet([room("both", executors=("a", "b")), room("only", executors=("a",))])
    a, b = LaneSignature("a"), LaneSignature("b")
    heap_a, heap_b = fleet.heap(a), fleet.heap(b)
    assert fleet.rooms[fleet.take(heap_b, b)].id == "both"
    assert fleet.rooms[fleet.take(heap_a, a)].id == "only", "the other has become busier"


@pytest.mark.parametrize(
    ("signature", "reason", "words"),
    [
        (LaneSignature("nobody"), Reason.NO_EXECUTOR, "'nobody' is registered by none of 2"),
        (LaneSignature("work", labels=GPU), Reason.LABELS, "gpu=a100 unmatched by 1 runners"),
        (LaneSignature("full"), Reason.FULL, "1 runners fit"),
        (LaneSignature("work", concurrency=3), Reason.CONCURRENCY, "3 of 3 tasks of 'work'"),
        (LaneSignature("work", cpu=2.5), Reason.CPU, "short by 1.5"),
        (LaneSignature("work", memory=300), Reason.MEMORY, "short by 200"),
    ],
)
def test_each_reason_is_told_with_its_figures(signature, reason, words):
    fleet = Fleet(
        [room("r", cpu=1.0, memory=100), room("full", executors=("full",), live=4)],
        Openings({"work": 3}),
    )
    assert fleet.room(signature) == 0
    why = fleet.explain(signature)
    assert why is not None
    assert why.reason is reason
    assert words in str(why)


def test_without_runners_that_is_the_reason():
    why = Fleet([]).explain(LaneSignature("work"))
    assert why is not None
    assert why.reason is Reason.NO_RUNNER


def test_what_fits_has_no_reason():
    assert Fleet([room("r")]).explain(LaneSignature("work")) is None


def test_an_executor_listed_twice_counts_once():
    index = FitIndex([(("work", "work"), {})])
    assert index.registered("work") == 1
    assert index.pools[index.pool("work", ())] == (0,)
