"""The debug switch: while the framework is disabled, storages that are shared do nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from mqtasks.conditions import where
from mqtasks.debug import debug_ctl_task_framework
from mqtasks.model import (
    CronTask,
    FailurePolicy,
    FiringKind,
    NewFiring,
    PauseKind,
    RunnerRecord,
    RunnerState,
    StepRecord,
    TaskEpoch,
    TaskMetadata,
)
from mqtasks.storage.contract import Allocation, Renewal, RetryRequest
from tests.support.links import linked
from tests.support.stage import FAILURE, Stage, new, row


class Scene(NamedTuple):
    """Tasks in states that each operation can do something to."""

    running: TaskEpoch
    failed: TaskEpoch
    crashed: TaskEpoch
    parent: int
    waits: int


CRON = CronTask(metadata=TaskMetadata("other", "work"), cron_expr="* * * * *")


def fire_nightly(at: int) -> tuple[CronTask, FiringKind, list[NewFiring]]:
    """Return what fires the stored definition once beside its schedule."""
    firing = NewFiring(at, TaskMetadata(f"nightly:manual:{at}", "work"))
    nightly = CronTask(metadata=TaskMetadata("nightly", "work"), cron_expr="* * * * *")
    return nightly, FiringKind.MANUAL, [firing]


WRITES: dict[str, Callable[[Stage, Scene], Any]] = {
    "add": lambda stage, scene: stage.storage.add(row("t9")),
    "update": lambda stage, scene: stage.storage.update(
        [row("running", id=scene.running.task_id)], where.everything()
    ),
    "delete": lambda stage, scene: stage.storage.delete(where.everything()),
    "create": lambda stage, scene: stage.storage.create_tasks([new("t9")]),
    "prune": lambda stage, scene: stage.storage.prune(0, 10, 0, 0).deleted,
    "promote": lambda stage, scene: stage.storage.promote_due(10),
    "allocate": lambda stage, scene: stage.storage.allocate_many(
        [Allocation(scene.running.task_id, 1, "r2", 1)]
    ),
    "cancel": lambda stage, scene: stage.storage.cancel_many([scene.running.task_id]).requested,
    "requeue": lambda stage, scene: stage.storage.requeue_many([scene.failed.task_id]),
    "release unstarted": lambda stage, scene: stage.storage.release_unstarted("r1", 1, "x"),
    "progress": lambda stage, scene: stage.storage.save_progress("r1", scene.running, b"x"),
    "step": lambda stage, scene: stage.storage.save_step(
        "r1", scene.running, StepRecord("one", 1, 1)
    ),
    "children": lambda stage, scene: stage.storage.create_children(
        "r1", scene.running, [new("t9")]
    ),
    "register": lambda stage, scene: stage.storage.register_runner(
        RunnerRecord(id="r1", holder="its holder"), 1000, 3
    ),
    "renew": lambda stage, scene: stage.storage.renew_runners([Renewal("r1", 1)], 1000),
    "state": lambda stage, scene: stage.storage.set_runner_state("r1", 1, RunnerState.STOPPED),
    "report dead": lambda stage, scene: stage.storage.report_dead("r1", 1, [scene.running], 3),
    "absolve": lambda stage, scene: stage.storage.absolve("r3", [scene.crashed]),
    "forget": lambda stage, scene: stage.storage.forget_runners(0),
    "acquire": lambda stage, scene: stage.storage.acquire_lease("free", "me", 1000),
    "renew lease": lambda stage, scene: stage.storage.renew_lease(stage.leadership, 1000),
    "release lease": lambda stage, scene: stage.storage.release_lease(stage.leadership),
    "pause": lambda stage, scene: stage.storage.pause(PauseKind.KEY, "new"),
    "resume": lambda stage, scene: stage.storage.resume(PauseKind.KEY, "held"),
    "resolve": lambda stage, scene: stage.storage.resolve_dependencies().released,
    "add cron": lambda stage, scene: stage.storage.add_cron_task(CRON),
    "fire cron": lambda stage, scene: sum(stage.storage.add_firings(*fire_nightly(2))),
    "prune firings": lambda stage, scene: stage.storage.prune_firings(10, 0),
    "delete cron": lambda stage, scene: stage.storage.delete_cron_task("nightly"),
}

READS: dict[str, Callable[[Stage, Scene], Any]] = {
    "query": lambda stage, scene: stage.storage.query(),
    "find": lambda stage, scene: stage.storage.find(["running"]),
    "load": lambda stage, scene: stage.storage.load([scene.running.task_id]),
    "owned": lambda stage, scene: stage.storage.owned("r1", 1),
    "steps": lambda stage, scene: stage.storage.steps(scene.running.task_id),
    "unended": lambda stage, scene: stage.storage.unended([scene.running.task_id]),
    "links": lambda stage, scene: stage.storage.dependencies(scene.waits),
    "children": lambda stage, scene: stage.storage.children(scene.parent),
    "parents": lambda stage, scene: stage.storage.parent_results(scene.waits),
    "lanes": lambda stage, scene: stage.storage.lanes(0, 10),
    "next due": lambda stage, scene: stage.storage.next_due_in_ms(),
    "load of runners": lambda stage, scene: stage.storage.live_load(),
    "runners": lambda stage, scene: stage.storage.runners(),
    "crons": lambda stage, scene: stage.storage.query_cron_task(),
    "pauses": lambda stage, scene: stage.storage.pauses(),
    "due crons": lambda stage, scene: stage.storage.due_cron(10),
}


@pytest.fixture
def scene(stage):
    """A running task, and beside it something to do for every operation; then the switch."""
    if not stage.storage.capabilities.cross_process:
        pytest.skip("the switch applies to storages that other processes share")
    running, failed = stage.running("running", "failed")
    stage.complete([failed], FAILURE)
    (crashed,) = stage.running("crashed", runner_id="r3")
    stage.storage.report_dead("r3", 1, [crashed], 3)
    stage.create("waiting", executor="other")
    stage.create("due", delay_duration=1)
    stage.storage.add_cron_task(
        CronTask(metadata=TaskMetadata("nightly", "work"), cron_expr="0 0 * * *")
    )
    stage.storage.add_firings(*fire_nightly(1))
    stage.storage.pause(PauseKind.KEY, "held")
    stage.storage.save_step("r1", running, StepRecord("before", 1, 1))
    (parent,) = stage.create("parent", executor="other")
    (waits,) = stage.storage.create_tasks([linked("waits", "parent", on_failure=FailurePolicy.RUN)])
    stage.storage.cancel_many([parent])
    assert stage.leadership
    stage.clock.advance(5)
    debug_ctl_task_framework(disable=True)
    yield Scene(running, failed, crashed, parent, waits.task_id)
    debug_ctl_task_framework(disable=False)


def rows_of(stage):
    debug_ctl_task_framework(disable=False)
    try:
        return (
            stage.everything(),
            stage.storage.runners(),
            stage.storage.query_cron_task(),
            stage.storage.pauses(),
            stage.storage.lease("leader"),
            stage.storage.lease("free"),
        )
    finally:
        debug_ctl_task_framework(disable=True)


@pytest.mark.parametrize("operation", WRITES)
def test_writes_do_nothing_and_say_so(stage, scene, operation):
    before = rows_of(stage)
    assert not WRITES[operation](stage, scene)
    assert rows_of(stage) == before
    debug_ctl_task_framework(disable=False)
    assert WRITES[operation](stage, scene)


def test_writes_of_a_worker_are_lost(stage, scene):
    before = rows_of(stage)
    storage = stage.storage
    for report in (
        stage.complete([scene.running], FAILURE),
        storage.retry_many("r1", [RetryRequest(scene.running.task_id, 1, 0, "boom")]),
        storage.release_many("r1", [scene.running], "drain"),
        storage.mark_started("r1", [scene.running]),
        storage.heartbeat_many("r1", [scene.running]),
    ):
        assert report.lost == (scene.running.task_id,)
    assert rows_of(stage) == before


@pytest.mark.parametrize("operation", READS)
def test_reads_answer_nothing(stage, scene, operation):
    assert not READS[operation](stage, scene)
    debug_ctl_task_framework(disable=False)
    assert READS[operation](stage, scene)


def test_everything_works_again_once_it_is_enabled(stage, scene):
    debug_ctl_task_framework(disable=False)
    assert stage.storage.heartbeat_many("r1", [scene.running]).lost == ()
    assert stage.complete([scene.running]).lost == ()
