"""Runner rows: registering, renewing, states, forgetting (P2)."""

from __future__ import annotations

import pytest

from mqtasks.errors import InvalidArgument, RunnerConflict
from mqtasks.model import AttemptOutcome, RunnerRecord, RunnerState, TaskStatus
from mqtasks.storage.contract import Allocation, Owned, Renewal
from tests.support.stage import LEASE_MS, MAX_CRASHES

FULL = RunnerRecord(
    id="r1",
    generation=99,
    holder="token",
    state=RunnerState.STOPPED,
    lease_remaining_ms=5,
    executors=("0000000007", "mail", "é"),
    labels={"zone": "a", "gpu": ""},
    cpu=7.5,
    memory=2**40,
    parallelism=16,
    max_wait_tasks=256,
    host="host.example",
    pid=4_194_304,
    version="1.2.3",
    started_at=5,
)


def test_p2_registering_writes_what_the_runner_offers(stage):
    assert stage.storage.register_runner(FULL, LEASE_MS, MAX_CRASHES) == 1
    stage.clock.advance(1)
    (stored,) = stage.storage.runners()
    assert stored == RunnerRecord(
        id="r1",
        generation=1,
        holder="token",
        state=RunnerState.ACTIVE,
        lease_remaining_ms=LEASE_MS - 1000,
        executors=FULL.executors,
        labels=FULL.labels,
        cpu=7.5,
        memory=2**40,
        parallelism=16,
        max_wait_tasks=256,
        host="host.example",
        pid=4_194_304,
        version="1.2.3",
        started_at=stage.now - 1000,
    )


def test_runner_records_are_copies_on_their_way_in_and_out(stage):
    labels = {"zone": "a"}
    stage.register(labels=labels)
    labels["zone"] = "b"
    stage.storage.runners()[0].labels["zone"] = "c"
    assert stage.storage.runners()[0].labels == {"zone": "a"}


def test_runners_are_listed_by_id(stage):
    assert stage.storage.runners() == []
    for name in ("r2", "r10", "R1", "r1"):
        stage.register(name)
    assert [item.id for item in stage.storage.runners()] == ["R1", "r1", "r10", "r2"]


def test_a_runner_without_an_id_is_refused(stage):
    with pytest.raises(InvalidArgument, match="runner"):
        stage.register("")


def test_p2_every_start_raises_the_generation_and_replaces_the_row(stage):
    assert [stage.register(parallelism=n) for n in (1, 2, 3)] == [1, 2, 3]
    (stored,) = stage.storage.runners()
    assert (stored.generation, stored.parallelism) == (3, 3)


def test_p2_an_id_that_is_alive_under_another_holder_is_refused(stage):
    stage.register(holder="first")
    (task,) = stage.running("t1")
    stage.clock.advance(5)
    before = (stage.everything(), stage.storage.runners())
    for state in (RunnerState.ACTIVE, RunnerState.DRAINING):
        stage.storage.set_runner_state("r1", 1, state)
        with pytest.raises(RunnerConflict) as raised:
            stage.register(holder="second")
        assert raised.value.runner_id == "r1"
        assert raised.value.lease_remaining == pytest.approx(LEASE_MS / 1000 - 5)
    stage.storage.set_runner_state("r1", 1, RunnerState.ACTIVE)
    assert (stage.everything(), stage.storage.runners()) == before
    assert stage.storage.owned("r1", 1) == [Owned(task.task_id, 1, TaskStatus.RUNNING)]


def test_p2_a_lapsed_id_may_be_taken(stage):
    stage.register(holder="first")
    stage.clock.advance(LEASE_MS / 1000)
    assert stage.register(holder="second") == 2
    assert stage.storage.renew_runners([Renewal("r1", 1)], LEASE_MS) == frozenset()


def test_p2_a_stopped_id_may_be_taken_at_once(stage):
    stage.register(holder="first")
    stage.storage.set_runner_state("r1", 1, RunnerState.STOPPED)
    assert stage.register(holder="second") == 2


def test_p2_tasks_of_an_older_generation_are_taken_before_the_newcomer_fetches(stage):
    """SIGKILL and restart under the same id, before the lease could lapse."""
    started, waiting = stage.running("started", "waiting")
    stage.storage.mark_started("r1", [started])
    (elsewhere,) = stage.running("elsewhere", runner_id="r2")
    assert stage.register() == 2
    assert stage.storage.owned("r1", 1) == []
    assert stage.storage.owned("r1", 2) == []
    assert stage.status(elsewhere.task_id) is TaskStatus.RUNNING
    crashed, lost = stage.task(started.task_id), stage.task(waiting.task_id)
    assert (crashed.status, crashed.crashes, crashed.reassigned) == (TaskStatus.CREATED, 1, 1)
    assert (lost.status, lost.crashes, lost.reassigned) == (TaskStatus.CREATED, 0, 1)
    assert stage.attempt(started.task_id).outcome == AttemptOutcome.CRASHED
    assert stage.attempt(waiting.task_id).outcome == AttemptOutcome.LOST
    assert [item.epoch for item in stage.allocate([started.task_id, waiting.task_id])] == [2, 2]


def test_p2_a_newcomer_also_takes_what_was_given_to_its_id_by_hand(stage):
    (task_id,) = stage.create("t1")
    stage.storage.allocate_many([Allocation(task_id, 0, "r1", 0)])
    assert stage.register() == 1
    assert stage.status(task_id) is TaskStatus.CREATED


def test_p2_registering_caps_crashes_like_every_rescue(stage):
    (task,) = stage.running("t1")
    stage.storage.mark_started("r1", [task])
    record = RunnerRecord(id="r1", holder="its holder")
    stage.storage.register_runner(record, LEASE_MS, 0)
    assert stage.status(task.task_id) is TaskStatus.COMPLETED


def test_p2_renewing_extends_the_lease_of_that_generation_only(stage):
    for name in ("r1", "r2", "r3"):
        stage.register(name)
    stage.register("r2")
    stage.storage.set_runner_state("r3", 1, RunnerState.DRAINING)
    stage.clock.advance(10)
    renewals = [Renewal("r3", 1), Renewal("r1", 1), Renewal("r2", 1), Renewal("none", 1)]
    assert stage.storage.renew_runners(renewals, LEASE_MS) == {"r1", "r3"}
    remaining = {item.id: item.lease_remaining_ms for item in stage.storage.runners()}
    assert remaining == {"r1": LEASE_MS, "r2": LEASE_MS - 10_000, "r3": LEASE_MS}
    assert stage.storage.renew_runners([Renewal("r2", 2)], LEASE_MS) == {"r2"}
    assert stage.storage.renew_runners([], LEASE_MS) == frozenset()


def test_p2_renewing_twice_at_the_same_moment_is_no_loss(stage):
    stage.register()
    for _ in range(2):  # the second changes nothing, which must not look like a fence
        assert stage.storage.renew_runners([Renewal("r1", 1)], LEASE_MS) == {"r1"}


def test_p4_a_lapsed_but_unfenced_lease_is_renewed(stage):
    stage.register()
    stage.clock.advance(3600)
    assert stage.storage.runners()[0].lease_remaining_ms == LEASE_MS - 3_600_000
    assert stage.storage.renew_runners([Renewal("r1", 1)], LEASE_MS) == {"r1"}
    assert stage.storage.runners()[0].lease_remaining_ms == LEASE_MS
    assert stage.storage.fence_lapsed(stage.leadership, "r1", 1, MAX_CRASHES) is None


def test_p4_a_stopped_runner_is_not_renewed(stage):
    stage.register()
    stage.storage.set_runner_state("r1", 1, RunnerState.STOPPED)
    assert stage.storage.renew_runners([Renewal("r1", 1)], LEASE_MS) == frozenset()


def test_a_state_is_written_for_its_generation_only(stage):
    stage.register()
    for state in (RunnerState.DRAINING, RunnerState.DRAINING, RunnerState.ACTIVE):
        assert stage.storage.set_runner_state("r1", 1, state) is True
        assert stage.storage.runners()[0].state is state
    assert stage.storage.set_runner_state("r1", 2, RunnerState.STOPPED) is False
    assert stage.storage.set_runner_state("r1", 0, RunnerState.STOPPED) is False
    assert stage.storage.set_runner_state("none", 1, RunnerState.STOPPED) is False
    assert stage.storage.runners()[0].state is RunnerState.ACTIVE
    for _ in range(2):
        assert stage.storage.set_runner_state("r1", 1, RunnerState.STOPPED) is True
    assert stage.storage.runners()[0].state is RunnerState.STOPPED


def test_a_stopped_generation_never_comes_back(stage):
    """Its tasks may be on their way to others: only a new generation may take tasks again."""
    stage.register()
    stage.storage.set_runner_state("r1", 1, RunnerState.STOPPED)
    for state in (RunnerState.ACTIVE, RunnerState.DRAINING):
        assert stage.storage.set_runner_state("r1", 1, state) is False
    assert stage.storage.runners()[0].state is RunnerState.STOPPED


def test_runners_are_forgotten_long_after_they_stopped_and_without_tasks(stage):
    stage.register("active")
    stage.register("young")
    stage.register("old")
    stage.running("t1", runner_id="owner")
    for name in ("old", "owner"):
        stage.storage.set_runner_state(name, 1, RunnerState.STOPPED)
    stage.clock.advance(60)
    stage.storage.set_runner_state("old", 1, RunnerState.STOPPED)  # stopped already
    stage.storage.set_runner_state("young", 1, RunnerState.STOPPED)
    assert stage.storage.forget_runners(60_001) == 0
    assert stage.storage.forget_runners(60_000) == 1
    assert {item.id for item in stage.storage.runners()} == {"active", "young", "owner"}
    stage.storage.rescue_orphans(stage.leadership, "owner", MAX_CRASHES)
    assert stage.storage.forget_runners(60_000) == 1
    assert stage.storage.forget_runners(0) == 1
    assert {item.id for item in stage.storage.runners()} == {"active"}
