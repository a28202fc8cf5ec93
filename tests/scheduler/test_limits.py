"""Keys, rates, tenants, label rules and named resources in the allocator (S2, S3, S11, M13)."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtasks.model import (
    AsyncTask,
    ExecuteResult,
    LaneSignature,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
    label,
    signature_of,
)
from mqtasks.scheduler.fleet import Fleet, RunnerRoom
from mqtasks.scheduler.placement import Demand, place
from mqtasks.scheduler.tenants import TenantTurns
from mqtasks.scheduler.unplaced import Reason
from mqtasks.storage.contract import Completion
from tests.scheduler.harness import World

NOW = 1_000_000


def reasons(leader) -> set[Reason]:
    return {why.reason for _lane, _signature, why in leader.parts.allocator.explain()}


# -- keys ------------------------------------------------------------------------------------------


def test_s2_one_of_a_key_at_a_time_and_different_keys_beside_each_other(world: World):
    leader = world.leader()
    world.runner(parallelism=10, max_wait_tasks=100)
    world.create(5, concurrency_key="a")
    world.create(5, concurrency_key="b", key_concurrency=2)
    leader.parts.allocate()
    assert len(world.live()) == 3
    assert reasons(leader) == set()
    leader.parts.allocate()
    assert reasons(leader) == {Reason.KEY_CONCURRENCY}
    for _ in range(4):
        world.finish()
        leader.parts.allocate()
    world.finish()
    assert world.storage.count_by_status(100)[TaskStatus.COMPLETED] == 10


def test_p6_tasks_under_a_key_or_a_rate_never_wait_at_a_runner(world: World):
    leader = world.leader()
    world.runner(parallelism=2, max_wait_tasks=100)
    world.create(20, concurrency_key="a", key_concurrency=9)
    world.create(20, rate_limit="1000/s")
    leader.parts.allocate()
    assert len(world.live()) == 2


def test_s2_two_leaders_at_once_and_lost_runners_never_overlap_a_key(world: World):
    one, two = world.leader("one", leader_ttl=600.0), world.scheduler("two", leader_ttl=600.0)
    two.parts.election._held = one.parts.election._held  # forced: both believe in one term
    for name in ("r0", "r1"):
        world.runner(name, parallelism=3)
    world.create(60, concurrency_key="k")
    inside = False

    def interleave(name: str) -> None:
        nonlocal inside
        if name == "allocate_many" and not inside:
            inside = True
            world.create(1, concurrency_key="k", priority=1)
            two.parts.allocator.run_once()
            inside = False

    done = 0
    for turn in range(200):
        world.spy.before = interleave if turn % 2 else lambda _name: None
        one.parts.allocator.run_once()
        live = len(world.live("r0")) + len(world.live("r1"))
        assert live <= 1
        if turn % 5 == 4:
            world.runner("r0", parallelism=3)  # it died and is back: its task is rescued
        done += world.finish("r0") + world.finish("r1")
    assert done >= 60
    assert two.parts.allocator.allocated


def test_p7_busy_keys_are_skipped_without_reading_their_rows(world: World):
    leader = world.leader(leader_ttl=600.0)
    world.runner(parallelism=500)
    for i in range(200):
        world.create(3, concurrency_key=f"key-{i}")
    leader.parts.allocate()
    assert len(world.live()) == 200
    (task,) = world.create()
    leader.parts.election.run_once()
    world.spy.reset()
    leader.parts.allocator.run_once()
    assert world.status(task) is TaskStatus.RUNNING
    assert world.spy.calls["lane_tasks"] == 1
    assert world.spy.calls["allocate_many"] == 1


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency_key": "busy"},
        {"executor": "rated", "rate_limit": "1/h"},
        {"tenant": "other", "labels": {"zone": label.in_("a", "b")}},
        {"tenant": "other", "labels": {"zone": label.exists()}},
        {"resources": {"gpu": 1}, "priority": 9},
    ],
    ids=["key", "rate", "in", "exists", "resource"],
)
def test_m13_p7_a_backlog_that_cannot_be_placed_costs_a_pass_next_to_nothing(world: World, options):
    leader = world.leader(leader_ttl=600.0)
    world.runner("r1", "work", "rated", parallelism=9)

    def cost() -> tuple[int, int]:
        (task,) = world.create()
        world.spy.reset()
        leader.parts.allocator.run_once()
        assert world.status(task) is TaskStatus.RUNNING
        done = world.task(task)
        world.storage.complete_many("r1", [Completion(done.id, done.epoch, ExecuteResult())])
        return sum(world.spy.calls.values()), world.spy.rows_read

    cost()
    calls, rows = cost()
    world.create(5_000, **options)
    leader.parts.allocate()
    leader.parts.allocate()
    calls_behind, rows_behind = cost()
    assert calls_behind < 2 * calls
    assert rows_behind == rows


# -- rates -----------------------------------------------------------------------------------------


def test_s3_a_rate_holds_and_the_allocator_says_when_to_look_again(world: World, clock):
    leader = world.leader(leader_ttl=600.0)
    world.runner(parallelism=50)
    world.create(40, rate_limit="10/s burst 3")
    started: list[float] = []
    passes = 0
    while len(started) < 40:
        delay = leader.parts.allocator.run_once()
        passes += 1
        started += [clock.monotonic()] * world.finish()
        world.renew("r1")
        clock.advance(delay)
        assert delay <= 0.5
    assert passes < 150, "it sleeps until there is a token"
    for start in started:
        assert sum(start <= at < start + 1 for at in started) <= 10 + 3
    assert 3.5 <= started[-1] - started[0] <= 4.5


def test_s3_a_lane_without_a_token_is_explained_and_holds_nobody_up(world: World):
    leader = world.leader()
    world.runner("r1", "work", "rated", parallelism=50)
    world.create(5, executor="rated", rate_limit="1/h")
    world.create(5, concurrency_key="k", key_concurrency=0, key_rate_limit="2/h burst 2")
    free = world.create(5)
    leader.parts.allocate()
    assert len(world.live()) == 1 + 2 + 5
    assert {world.status(task) for task in free} == {TaskStatus.RUNNING}
    leader.parts.allocate()
    assert reasons(leader) == {Reason.RATE}
    (_, _, why) = leader.parts.allocator.explain()[0]
    assert "limited to" in str(why)


def test_s3_nothing_is_asked_about_rates_while_there_are_none(world: World):
    leader = world.leader()
    world.runner()
    world.create(3, concurrency_key="k")
    leader.parts.allocate()
    assert world.spy.calls["allocate_many"]
    assert not world.spy.calls["rate_buckets"]


# -- tenants ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 4, 50])
def test_s11_a_tenant_with_a_large_backlog_does_not_delay_another(world: World, slots):
    """B's task starts within two turns of a slot, whatever A has waiting, and for how long."""
    leader = world.leader(leader_ttl=600.0)
    world.runner(parallelism=slots, max_wait_tasks=0)
    world.create(3_000, tenant="a", priority=5)
    leader.parts.allocate()
    world.clock.advance(100)  # A's tasks have aged meanwhile
    world.renew("r1")
    waits = []
    for _ in range(10):
        (task,) = world.create(tenant="b")
        waited = 0
        while world.status(task) is TaskStatus.CREATED:
            world.finish(count=1)
            leader.parts.allocate()
            waited += 1
            assert waited <= 2
        waits.append(waited)
    assert max(waits) <= 2


def test_s11_tenants_share_what_becomes_free(world: World):
    leader = world.leader(leader_ttl=600.0)
    world.runner(parallelism=1, max_wait_tasks=0)
    world.create(300, tenant="a", priority=9)
    world.create(100, tenant="b")
    world.create(100)
    served: Counter[str] = Counter()
    for _ in range(90):
        leader.parts.allocate()
        (task,) = world.storage.load([item.task_id for item in world.live()])
        served[task.metadata.options.tenant] += 1
        world.finish()
    assert served == {"a": 30, "b": 30, "": 30}


def test_s11_many_lanes_of_one_tenant_leave_another_its_share(world: World):
    leader = world.leader(leader_ttl=600.0)
    world.runner(parallelism=1, max_wait_tasks=0)
    for i in range(200):
        world.create(1, tenant="a", concurrency_key=f"k{i}")
    for _ in range(5):
        (task,) = world.create(tenant="b")
        for _ in range(2):
            world.finish()
            leader.parts.allocate()
        assert world.status(task) is not TaskStatus.CREATED


def test_s11_within_a_tenant_priority_ages_so_that_nothing_starves(world: World, clock):
    leader = world.leader(leader_ttl=600.0, ageing=10.0)
    world.runner("r1", "work", "other", parallelism=1, max_wait_tasks=0)
    (low,) = world.create(executor="other", tenant="a")
    for _ in range(100):
        clock.advance(1)
        world.renew("r1")
        world.finish()
        world.create(tenant="a", priority=3)
        world.create(tenant="b", priority=3)
        leader.parts.allocate()
        if world.status(low) is not TaskStatus.CREATED:
            break
    else:
        raise AssertionError("the task of lower priority starved")


def test_s11_who_was_idle_neither_waits_nor_catches_up():
    turns = TenantTurns()
    for _ in range(50):
        turns.served({"a": 1})
    assert abs(turns.of("a") - turns.of("b")) <= 1
    turns.served({"b": 1})
    assert turns.of("b") - turns.of("a") <= 1


# -- placement -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "without", "with_a", "with_b"),
    [
        ("a", False, True, False),
        (label.in_("a"), False, True, False),
        (label.in_("a", "b"), False, True, True),
        (label.not_("a"), True, False, True),
        (label.not_("a", "b"), True, False, False),
        (label.exists(), False, True, True),
    ],
)
def test_m13_label_operators(wanted, without, with_a, with_b):
    signature = signature_of(TaskMetadata("t", "work", options=TaskOptions(labels={"x": wanted})))
    for labels, fits in (({}, without), ({"x": "a"}, with_a), ({"x": "b"}, with_b)):
        room = RunnerRoom(id="r", generation=1, executors=("work",), labels=labels)
        assert Fleet([room]).room(signature) == fits


def test_m13_label_rules_decide(world: World):
    leader = world.leader()
    world.runner("plain", parallelism=9)
    world.runner("a", parallelism=9, labels={"zone": "a"})
    world.runner("b", parallelism=9, labels={"zone": "b", "gpu": "yes"})
    wanted = {
        "a": {"zone": "a"},
        "b": {"zone": label.in_("b", "c")},
        "plain": {"zone": label.not_("a", "b")},
    }
    tasks = {name: world.create(labels=rules)[0] for name, rules in wanted.items()}
    (gpu,) = world.create(labels={"gpu": label.exists()})
    (nowhere,) = world.create(labels={"zone": label.in_("c")})
    leader.parts.allocate()
    assert {name: world.task(task).runner for name, task in tasks.items()} == {
        name: name for name in tasks
    }
    assert world.task(gpu).runner == "b"
    leader.parts.allocate()
    ((_, _, why),) = leader.parts.allocator.explain()
    assert why.reason is Reason.LABELS
    assert "zone in (c)" in str(why)
    assert world.status(nowhere) is TaskStatus.CREATED


def test_m13_named_resources_are_reserved_while_a_task_is_live(world: World):
    leader = world.leader()
    world.runner("none", parallelism=10, max_wait_tasks=10)
    world.runner("gpus", parallelism=10, max_wait_tasks=10, resources={"gpu": 2})
    world.create(5, resources={"gpu": 1})
    leader.parts.allocate()
    assert (len(world.live("none")), len(world.live("gpus"))) == (0, 2)
    leader.parts.allocate()
    ((_, _, why),) = leader.parts.allocator.explain()
    assert why.reason is Reason.RESOURCE
    assert "'gpu'" in str(why)
    world.finish("gpus", 1)
    leader.parts.allocate()
    assert len(world.live("gpus")) == 2


NAMES = ["gpu", "licence"]
amounts = st.sampled_from([0.1, 0.25, 0.3, 1.0, 1.5])


@settings(max_examples=200, deadline=None)
@given(
    offers=st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(NAMES), st.sampled_from([0.5, 1.0, 3.0])),
            st.sampled_from([0.0, 1.0, 4.0]),
            st.sampled_from([0, 10, 100]),
        ),
        min_size=1,
        max_size=4,
    ),
    wants=st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(NAMES), amounts),
            st.sampled_from([0.0, 0.1, 1.0]),
            st.sampled_from([0, 7]),
            st.sampled_from(["", "a", "b"]),
        ),
        min_size=1,
        max_size=6,
        unique_by=repr,
    ),
)
def test_m13_reserved_sums_never_exceed_what_a_runner_offers(offers, wants):
    rooms = [
        RunnerRoom(
            id=f"r{i}", generation=1, executors=("work",), parallelism=5, most=9,
            cpu=cpu, memory=memory, resources=resources,
        )
        for i, (resources, cpu, memory) in enumerate(offers)
    ]  # fmt: skip
    lanes: list[Demand] = []
    signature_by_task: dict[int, LaneSignature] = {}
    for lane, (resources, cpu, memory, tenant) in enumerate(wants):
        signature = LaneSignature(
            "work", cpu=cpu, memory=memory, tenant=tenant,
            resources=tuple(sorted(resources.items())),
        )  # fmt: skip
        tasks = [
            AsyncTask(id=lane * 100 + i, metadata=TaskMetadata(f"{lane}-{i}", "work"), run_at=NOW)
            for i in range(1, 7)
        ]
        signature_by_task |= dict.fromkeys([task.id for task in tasks], signature)
        lanes.append(Demand(lane, signature, tasks))
    result = place(Fleet(rooms), lanes, NOW)
    assert sum(result.tenants.values()) == result.count
    for i, tasks in result.assigned.items():
        taken = [signature_by_task[task.id] for task in tasks]
        assert sum(item.cpu for item in taken) <= rooms[i].cpu + 1e-6
        assert sum(item.memory for item in taken) <= rooms[i].memory
        for name in NAMES:
            reserved = sum(dict(item.resources).get(name, 0.0) for item in taken)
            assert reserved <= rooms[i].resources.get(name, 0.0) + 1e-6
