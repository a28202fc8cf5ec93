"""Taking tasks from runners: fencing first, charging only who ran (P3, P4, P8, P14)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from mqtasks.conditions import where
from mqtasks.errors import NotLeader
from mqtasks.model import (
    Attempt,
    AttemptOutcome,
    Leadership,
    ResultCode,
    RunnerState,
    TaskEpoch,
    TaskOptions,
    TaskStatus,
)
from mqtasks.storage import checks
from mqtasks.storage.contract import Allocation, Orphans, Renewal, RescueReport
from tests.support.stage import LEASE_MS, MAX_CRASHES, NOBODY, row


@pytest.fixture
def by_hand(stage):
    """Give a new task to a runner without a row, as a foreign implementation does."""

    def give(metadata_id: str, runner_id: str = "foreign") -> TaskEpoch:
        (task_id,) = stage.create(metadata_id)
        assert stage.storage.allocate_many([Allocation(task_id, 0, runner_id, 0)])
        return TaskEpoch(task_id, 1)

    return give


def lapse(stage):
    stage.clock.advance(LEASE_MS / 1000 + 0.001)


def test_p8_a_rescued_task_waits_again_with_its_epoch(stage):
    (task,) = stage.running("t1", priority=4)
    stage.storage.mark_started("r1", [task])
    before = stage.task(task.task_id)
    stage.clock.advance(1)
    report = stage.storage.report_dead("r1", 1, [task], MAX_CRASHES, "killed by SIGKILL")
    assert report == RescueReport(requeued=(task.task_id,))
    after = stage.task(task.task_id)
    assert after.run_at <= stage.now
    assert after == replace(
        before,
        status=TaskStatus.CREATED,
        runner="",
        generation=0,
        crashes=1,
        reassigned=1,
        started_at=0,
        run_at=after.run_at,
    )
    assert stage.attempt(task.task_id) == Attempt(
        task_id=task.task_id,
        epoch=1,
        runner="r1",
        outcome=int(AttemptOutcome.CRASHED),
        started_at=before.started_at,
        ended_at=stage.now,
        error="killed by SIGKILL",
    )


def test_p8_a_dead_process_charges_only_what_it_had_handed_to_an_executor(stage):
    tasks = stage.running("poison", "marked", "waiting", "stale")
    stage.storage.mark_started("r1", [tasks[1]])  # but it had ended before the process died
    told = [tasks[0], TaskEpoch(tasks[3].task_id, 0)]
    report = stage.storage.report_dead("r1", 1, told, MAX_CRASHES)
    assert sorted(report.requeued) == [item.task_id for item in tasks]
    assert [stage.task(item.task_id).crashes for item in tasks] == [1, 0, 0, 0]
    outcomes = [stage.attempt(item.task_id).outcome for item in tasks]
    assert outcomes == [AttemptOutcome.CRASHED, *[AttemptOutcome.LOST] * 3]


def test_p14_reporting_death_fences_the_runner_first(stage):
    (task,) = stage.running("t1")
    assert stage.storage.report_dead("r1", 1, [], MAX_CRASHES) is not None
    (runner,) = stage.storage.runners()
    assert (runner.generation, runner.state) == (2, RunnerState.STOPPED)
    assert stage.storage.renew_runners([Renewal("r1", 1), Renewal("r1", 2)], LEASE_MS) == set()
    assert stage.storage.heartbeat_many("r1", [task]).lost == (task.task_id,)
    assert stage.storage.report_dead("r1", 1, [], MAX_CRASHES) is None
    assert stage.storage.report_dead("none", 1, [], MAX_CRASHES) is None
    assert stage.register() == 3


def test_p14_a_report_about_an_older_generation_does_nothing(stage):
    stage.register()
    stage.register()
    (task,) = stage.running("t1")
    assert stage.storage.report_dead("r1", 1, [task], MAX_CRASHES) is None
    assert stage.status(task.task_id) is TaskStatus.RUNNING


def crash_once(stage, task):
    stage.storage.mark_started("r1", [task])
    return stage.storage.report_dead("r1", stage.generation(), [task], MAX_CRASHES)


def test_p8_a_poison_ends_failed_when_it_has_crashed_too_often(stage):
    (task,) = stage.running("poison")
    (innocent,) = stage.running("innocent")
    for turn in range(1, MAX_CRASHES + 1):
        report = crash_once(stage, task)
        assert report.requeued == (task.task_id, innocent.task_id)
        assert stage.task(task.task_id).crashes == turn
        stage.register()
        task, innocent = stage.allocate([task.task_id, innocent.task_id])
    report = crash_once(stage, task)
    assert (report.requeued, report.failed) == ((innocent.task_id,), (task.task_id,))
    failed = stage.task(task.task_id)
    assert (failed.status, failed.completed_at) == (TaskStatus.COMPLETED, stage.now)
    assert (failed.crashes, failed.runner, failed.epoch) == (4, "r1", 4)
    assert failed.execute_result.code is ResultCode.FAILED
    assert "died 4 times" in failed.execute_result.error
    history = stage.storage.attempts(task.task_id)
    assert [item.outcome for item in history] == [AttemptOutcome.CRASHED] * 4
    assert stage.task(innocent.task_id).crashes == 0


def test_p8_rolling_restarts_charge_nobody(stage):
    (task,) = stage.running("t1")
    for _ in range(10):
        stage.storage.report_dead("r1", stage.generation(), [], 0)
        stage.register()
        (task,) = stage.allocate([task.task_id])
    stored = stage.task(task.task_id)
    assert (stored.crashes, stored.reassigned, stored.epoch) == (0, 10, 11)


def test_p8_reassignments_are_capped_by_the_tasks_own_option(stage):
    (task,) = stage.running("t1", max_reassign_times=2)
    for _ in range(2):
        report = stage.storage.report_dead("r1", stage.generation(), [], MAX_CRASHES)
        assert report.requeued == (task.task_id,)
        stage.register()
        stage.allocate([task.task_id])
    report = stage.storage.report_dead("r1", stage.generation(), [], MAX_CRASHES)
    assert report.failed == (task.task_id,)
    failed = stage.task(task.task_id)
    assert (failed.status, failed.reassigned) == (TaskStatus.COMPLETED, 3)
    assert "taken from a lost runner 3 times" in failed.execute_result.error


def test_p8_caps_are_judged_task_by_task_in_one_rescue(stage):
    stage.register()
    fields: dict[str, Any] = {
        "status": TaskStatus.RUNNING,
        "runner": "r1",
        "generation": 1,
        "epoch": 1,
    }
    ids = stage.add(
        row("fresh", **fields),
        row("crashed", crashes=3, **fields),
        row("reassigned", reassigned=2, options=TaskOptions(max_reassign_times=2), **fields),
        row("unlimited", reassigned=99, **fields),
        row("asked", **{**fields, "status": TaskStatus.CANCEL_REQUESTED}),
    )
    started = [TaskEpoch(item, 1) for item in ids]
    report = stage.storage.report_dead("r1", 1, started, MAX_CRASHES)
    assert sorted(report.requeued) == [ids[0], ids[3]]
    assert sorted(report.failed) == [ids[1], ids[2]]
    assert report.canceled == (ids[4],)


def test_p4_only_a_lapsed_lease_is_fenced(stage):
    (task,) = stage.running("t1")
    for seconds in (0, LEASE_MS / 1000):  # at the very end it still holds
        stage.clock.advance(seconds)
        assert stage.storage.fence_lapsed(stage.leadership, "r1", 1, MAX_CRASHES) is None
    assert stage.status(task.task_id) is TaskStatus.RUNNING
    stage.clock.advance(0.001)
    report = stage.storage.fence_lapsed(stage.leadership, "r1", 1, MAX_CRASHES)
    assert report == RescueReport(requeued=(task.task_id,))
    (runner,) = stage.storage.runners()
    assert (runner.generation, runner.state) == (2, RunnerState.STOPPED)
    assert stage.storage.renew_runners([Renewal("r1", 1)], LEASE_MS) == frozenset()


def test_p4_a_runner_that_came_back_is_not_fenced(stage):
    (task,) = stage.running("t1")
    lapse(stage)
    stage.storage.renew_runners([Renewal("r1", 1)], LEASE_MS)
    assert stage.storage.fence_lapsed(stage.leadership, "r1", 1, MAX_CRASHES) is None
    assert stage.status(task.task_id) is TaskStatus.RUNNING


def test_p4_fencing_names_the_generation_that_was_judged(stage):
    stage.register()
    lapse(stage)
    for generation in (0, 2):
        assert stage.storage.fence_lapsed(stage.leadership, "r1", generation, 3) is None
    assert stage.storage.fence_lapsed(stage.leadership, "none", 1, 3) is None
    assert stage.storage.fence_lapsed(stage.leadership, "r1", 1, 3) == NOBODY
    assert stage.storage.fence_lapsed(stage.leadership, "r1", 1, 3) is None


def test_p4_a_stopped_runner_is_no_matter_of_fencing(stage):
    stage.running("t1")
    stage.storage.set_runner_state("r1", 1, RunnerState.STOPPED)
    lapse(stage)
    assert stage.storage.fence_lapsed(stage.leadership, "r1", 1, MAX_CRASHES) is None


def test_p4_p8_a_lapsed_runner_is_charged_for_what_storage_knows_as_started(stage):
    started, waiting = stage.running("started", "waiting")
    stage.storage.mark_started("r1", [started])
    (other,) = stage.running("other", runner_id="r2")
    lapse(stage)
    report = stage.storage.fence_lapsed(stage.leadership, "r1", 1, MAX_CRASHES)
    assert sorted(report.requeued) == [started.task_id, waiting.task_id]
    assert stage.attempt(started.task_id).outcome == AttemptOutcome.CRASHED
    assert stage.attempt(started.task_id).error == checks.LEASE_LAPSED
    assert stage.attempt(waiting.task_id).outcome == AttemptOutcome.LOST
    assert stage.task(started.task_id).crashes == 1
    assert stage.task(waiting.task_id).crashes == 0
    assert stage.status(other.task_id) is TaskStatus.RUNNING


@pytest.mark.parametrize("operation", ["fence", "rescue"])
@pytest.mark.parametrize("change", ["holder", "term", "lapsed"])
def test_p6_rescuing_demands_leadership(stage, operation, change):
    stage.running("t1")
    held = stage.leadership
    claimed = {
        "holder": Leadership(held.name, "you", held.term),
        "term": Leadership(held.name, held.holder, held.term + 1),
        "lapsed": held,
    }[change]
    stage.clock.advance(10**6 + 1 if change == "lapsed" else 3600)
    if operation == "rescue":
        stage.storage.set_runner_state("r1", 1, RunnerState.STOPPED)
    before = (stage.everything(), stage.storage.runners())
    calls = {
        "fence": lambda: stage.storage.fence_lapsed(claimed, "r1", 1, MAX_CRASHES),
        "rescue": lambda: stage.storage.rescue_orphans(claimed, "r1", MAX_CRASHES),
    }
    with pytest.raises(NotLeader):
        calls[operation]()
    assert (stage.everything(), stage.storage.runners()) == before


def test_orphans_are_owned_by_runners_that_are_stopped_or_missing(stage, by_hand):
    for name in ("active", "draining", "stopped"):
        stage.running(f"of {name}", runner_id=name)
    stage.register("idle")
    stage.storage.set_runner_state("draining", 1, RunnerState.DRAINING)
    stage.storage.set_runner_state("stopped", 1, RunnerState.STOPPED)
    stage.storage.set_runner_state("idle", 1, RunnerState.STOPPED)
    by_hand("t1")
    asked = by_hand("t2", "asked")
    stage.storage.cancel_many([asked.task_id])
    orphans = stage.storage.orphans()
    assert sorted(orphans, key=lambda item: item.runner_id) == [
        Orphans("asked", has_row=False),
        Orphans("foreign", has_row=False),
        Orphans("stopped", has_row=True),
    ]


def test_orphans_of_a_stopped_runner_are_rescued_at_once(stage):
    started, waiting = stage.running("a", "b")
    stage.storage.mark_started("r1", [started])
    stage.storage.set_runner_state("r1", 1, RunnerState.STOPPED)
    # Silence and spared ids are about runners without a row.
    report = stage.storage.rescue_orphans(
        stage.leadership, "r1", MAX_CRASHES, 10**6, [started.task_id, waiting.task_id]
    )
    assert sorted(report.requeued) == [started.task_id, waiting.task_id]
    assert stage.task(started.task_id).crashes == 1
    assert stage.task(waiting.task_id).crashes == 0
    assert stage.storage.orphans() == []
    assert stage.storage.rescue_orphans(stage.leadership, "r1", MAX_CRASHES) == NOBODY


@pytest.mark.parametrize("state", [RunnerState.ACTIVE, RunnerState.DRAINING])
def test_p3_nothing_is_taken_from_a_runner_that_came_back(stage, state):
    (task,) = stage.running("t1")
    stage.storage.set_runner_state("r1", 1, state)
    lapse(stage)  # lapsed is not fenced
    assert stage.storage.rescue_orphans(stage.leadership, "r1", MAX_CRASHES) == NOBODY
    assert stage.status(task.task_id) is TaskStatus.RUNNING


def test_p3_a_foreign_runner_is_judged_task_by_task(stage, by_hand):
    silent, beating, spared = (by_hand(name) for name in ("silent", "beating", "spared"))
    stage.clock.advance(10)
    stage.storage.heartbeat_many("foreign", [beating])
    stage.clock.advance(5)

    def rescue():
        return stage.storage.rescue_orphans(
            stage.leadership, "foreign", MAX_CRASHES, 15_000, [spared.task_id]
        )

    assert rescue() == NOBODY  # silent for 15 s, not longer
    stage.clock.advance(0.001)
    assert rescue().requeued == (silent.task_id,)
    stage.clock.advance(60)
    assert rescue().requeued == (beating.task_id,)
    assert stage.status(spared.task_id) is TaskStatus.RUNNING


def test_p8_a_foreign_task_counts_as_started_once_it_has_beaten(stage, by_hand):
    beaten, marked, silent = (by_hand(name) for name in ("beaten", "marked", "silent"))
    stage.clock.advance(1)
    stage.storage.heartbeat_many("foreign", [beaten])
    stage.storage.mark_started("foreign", [marked])
    stage.clock.advance(60)
    report = stage.storage.rescue_orphans(stage.leadership, "foreign", MAX_CRASHES, 15_000)
    assert len(report.requeued) == 3
    crashes = [stage.task(item.task_id).crashes for item in (beaten, marked, silent)]
    assert crashes == [1, 1, 0]


def test_p14_a_fenced_runner_that_lives_takes_its_crash_charges_back(stage):
    started, waiting = stage.running("started", "waiting")
    stage.storage.mark_started("r1", [started])
    lapse(stage)
    stage.storage.fence_lapsed(stage.leadership, "r1", 1, MAX_CRASHES)
    assert stage.storage.absolve("r2", [started, waiting]) == 0
    assert stage.storage.absolve("r1", [TaskEpoch(started.task_id, 2)]) == 0
    assert stage.storage.absolve("r1", [started, waiting]) == 1
    assert stage.task(started.task_id).crashes == 0
    assert stage.attempt(started.task_id).outcome == AttemptOutcome.FENCED
    assert stage.attempt(waiting.task_id).outcome == AttemptOutcome.LOST
    before = stage.everything()
    assert stage.storage.absolve("r1", [started, waiting]) == 0
    assert stage.everything() == before


def test_p14_absolution_reaches_a_task_that_runs_elsewhere_but_not_one_that_has_ended(stage):
    running, ended = stage.running("running", "ended")
    stage.storage.report_dead("r1", 1, [running, ended], MAX_CRASHES)
    stage.register()
    (_, last) = stage.allocate([running.task_id, ended.task_id])
    stage.complete([last])
    assert stage.storage.absolve("r1", [running, ended]) == 2
    assert stage.task(running.task_id).crashes == 0
    assert stage.task(ended.task_id).crashes == 1
    assert stage.attempt(ended.task_id).outcome == AttemptOutcome.FENCED


def test_p14_absolving_a_deleted_task_is_no_error(stage):
    (task,) = stage.running("t1")
    stage.storage.report_dead("r1", 1, [task], MAX_CRASHES)
    stage.storage.delete(where.everything())
    assert stage.storage.absolve("r1", [task]) == 0


def test_thousands_of_tasks_are_rescued_in_one_transaction(stage):
    tasks = stage.running(*(f"t{n}" for n in range(2500)))
    report = stage.storage.report_dead("r1", 1, tasks[::2], MAX_CRASHES)
    assert sorted(report.requeued) == [item.task_id for item in tasks]
    crashed = stage.storage.query(where.crashes == 1)
    assert [item.id for item in crashed] == [item.task_id for item in tasks[::2]]
    assert stage.storage.absolve("r1", tasks) == 1250
    assert stage.storage.query(where.crashes > 0) == []
