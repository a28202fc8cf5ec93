"""Only the current (runner, epoch) writes to a task (P1), and may repeat itself (P10)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mqtasks.model import ExecuteResult, RunnerState, TaskEpoch, TaskStatus
from mqtasks.storage.contract import APPLIED, Allocation, Completion, RetryRequest, WriteReport
from tests.support.stage import FAILURE, LEASE_MS, MAX_CRASHES, Stage

Write = Callable[[Stage, str, TaskEpoch], WriteReport]


def complete(stage: Stage, runner_id: str, task: TaskEpoch) -> WriteReport:
    done = Completion(task.task_id, task.epoch, ExecuteResult(value=b"1"), 250)
    return stage.storage.complete_many(runner_id, [done])


def fail(stage: Stage, runner_id: str, task: TaskEpoch) -> WriteReport:
    done = Completion(task.task_id, task.epoch, FAILURE, 250, "trace")
    return stage.storage.complete_many(runner_id, [done])


def retry(stage: Stage, runner_id: str, task: TaskEpoch) -> WriteReport:
    request = RetryRequest(task.task_id, task.epoch, 2000, "boom", "trace", 250)
    return stage.storage.retry_many(runner_id, [request])


def release(stage: Stage, runner_id: str, task: TaskEpoch) -> WriteReport:
    return stage.storage.release_many(runner_id, [task], "drain")


def start(stage: Stage, runner_id: str, task: TaskEpoch) -> WriteReport:
    return stage.storage.mark_started(runner_id, [task])


def beat(stage: Stage, runner_id: str, task: TaskEpoch) -> WriteReport:
    return stage.storage.heartbeat_many(runner_id, [task])


def progress(stage: Stage, runner_id: str, task: TaskEpoch) -> WriteReport:
    saved = stage.storage.save_progress(runner_id, task, b"late")
    return APPLIED if saved else WriteReport(lost=(task.task_id,))


WRITES: list[Write] = [complete, fail, retry, release, start, beat, progress]
ENDINGS: list[Write] = [complete, fail, retry, release]


def by_name(function):
    return function.__name__.replace("_", " ")


@pytest.fixture(params=WRITES, ids=by_name)
def write(request):
    return request.param


# -- how an allocation (r1, epoch 1) comes to its end ------------------------------------------


def released(stage: Stage, task: TaskEpoch) -> None:
    stage.storage.release_many("r1", [task], "drain")
    stage.allocate([task.task_id])


def released_to_another(stage: Stage, task: TaskEpoch) -> None:
    stage.storage.release_many("r1", [task], "drain")
    stage.register("r2")
    stage.allocate([task.task_id], "r2")


def retried(stage: Stage, task: TaskEpoch) -> None:
    stage.storage.retry_many("r1", [RetryRequest(task.task_id, 1, 0, "boom")])
    stage.storage.promote_due(1)
    stage.allocate([task.task_id])


def requeued(stage: Stage, task: TaskEpoch) -> None:
    stage.complete([task], FAILURE)
    assert stage.storage.requeue_many([task.task_id]) == (task.task_id,)
    stage.allocate([task.task_id])


def canceled_and_requeued(stage: Stage, task: TaskEpoch) -> None:
    stage.storage.cancel_many([task.task_id])
    assert stage.complete([task]).canceled == (task.task_id,)
    assert stage.storage.requeue_many([task.task_id]) == (task.task_id,)
    stage.allocate([task.task_id])


def rescued_after_a_crash(stage: Stage, task: TaskEpoch) -> None:
    stage.storage.report_dead("r1", 1, [task], MAX_CRASHES)
    stage.register()
    stage.allocate([task.task_id])


def rescued_after_a_lapse(stage: Stage, task: TaskEpoch) -> None:
    stage.clock.advance(LEASE_MS / 1000 + 1)
    assert stage.storage.fence_lapsed(stage.leadership, "r1", 1, MAX_CRASHES)
    stage.register()
    stage.allocate([task.task_id])


def rescued_by_a_restart(stage: Stage, task: TaskEpoch) -> None:
    assert stage.register() == 2
    stage.allocate([task.task_id])


def rescued_as_an_orphan(stage: Stage, task: TaskEpoch) -> None:
    stage.storage.set_runner_state("r1", 1, RunnerState.STOPPED)
    stage.storage.rescue_orphans(stage.leadership, "r1", MAX_CRASHES)
    stage.register()
    stage.allocate([task.task_id])


def taken_by_hand(stage: Stage, task: TaskEpoch) -> None:
    stage.register("r2")
    taken = stage.storage.allocate_many([Allocation(task.task_id, 1, "r2", 1)])
    assert taken == {task.task_id}


FATES = [
    released,
    released_to_another,
    retried,
    requeued,
    canceled_and_requeued,
    rescued_after_a_crash,
    rescued_after_a_lapse,
    rescued_by_a_restart,
    rescued_as_an_orphan,
    taken_by_hand,
]


@pytest.mark.parametrize("fate", FATES, ids=by_name)
def test_p1_an_old_epoch_stays_refused(stage, fate):
    (task,) = stage.running("t1", max_retry_times=9)
    stage.clock.advance(1)
    fate(stage, task)
    assert stage.task(task.task_id).epoch == 2
    assert stage.status(task.task_id) is TaskStatus.RUNNING
    stage.clock.advance(1)
    before = stage.everything()
    for write in WRITES:
        assert write(stage, "r1", task) == WriteReport(lost=(task.task_id,)), by_name(write)
        assert stage.everything() == before, by_name(write)


@pytest.mark.parametrize("fate", FATES, ids=by_name)
def test_p1_the_new_owner_is_not_disturbed(stage, fate):
    (task,) = stage.running("t1")
    fate(stage, task)
    for write in WRITES:
        write(stage, "r1", task)
    owner = stage.task(task.task_id).runner
    current = TaskEpoch(task.task_id, 2)
    for write in (start, beat, progress, complete):
        assert write(stage, owner, current) == APPLIED


def test_another_runner_writes_nothing(stage, write):
    (task,) = stage.running("t1")
    stage.register("r2")
    before = stage.everything()
    assert write(stage, "r2", task) == WriteReport(lost=(task.task_id,))
    assert write(stage, "", task) == WriteReport(lost=(task.task_id,))
    assert stage.everything() == before


def test_an_epoch_from_before_writes_nothing(stage, write):
    (task,) = stage.running("t1")
    before = stage.everything()
    older = TaskEpoch(task.task_id, 0)
    assert write(stage, "r1", older) == WriteReport(lost=(task.task_id,))
    assert stage.everything() == before


@pytest.mark.parametrize("write", [item for item in WRITES if item is not beat], ids=by_name)
def test_an_epoch_from_the_future_writes_nothing(stage, write):
    (task,) = stage.running("t1")
    before = stage.everything()
    newer = TaskEpoch(task.task_id, 2)
    assert write(stage, "r1", newer) == WriteReport(lost=(task.task_id,))
    assert stage.everything() == before


def test_a_heartbeat_takes_any_epoch_from_the_rows_on(stage):
    """The reference demands epoch <= the caller's, so that a heartbeat may be ahead of a read."""
    (task,) = stage.running("t1")
    stage.clock.advance(1)
    assert beat(stage, "r1", TaskEpoch(task.task_id, 2)) == APPLIED
    assert stage.task(task.task_id).last_heartbeat == stage.now


def test_a_task_that_is_not_stored_is_lost(stage, write):
    (task,) = stage.running("t1")
    gone = TaskEpoch(task.task_id + 1000, 1)
    assert write(stage, "r1", gone) == WriteReport(lost=(gone.task_id,))


@pytest.mark.parametrize("ending", ENDINGS, ids=by_name)
def test_p1_an_ended_allocation_takes_nothing_but_its_own_ending_again(stage, ending):
    (task,) = stage.running("t1")
    assert ending(stage, "r1", task) == APPLIED
    before = stage.everything()
    for write in WRITES:
        expected = APPLIED if write is ending else WriteReport(lost=(task.task_id,))
        assert write(stage, "r1", task) == expected, by_name(write)
        assert stage.everything() == before, by_name(write)


@pytest.mark.parametrize("ending", ENDINGS, ids=by_name)
def test_p10_a_repeated_ending_of_another_runner_is_lost(stage, ending):
    (task,) = stage.running("t1")
    ending(stage, "r1", task)
    assert ending(stage, "r2", task) == WriteReport(lost=(task.task_id,))


def test_p10_a_write_repeated_after_an_unknown_commit_is_a_success(stage, write):
    (task,) = stage.running("t1")
    assert write(stage, "r1", task) == APPLIED
    stage.clock.advance(1)
    before = stage.everything()
    assert write(stage, "r1", task) == APPLIED
    if write in ENDINGS:
        assert stage.everything() == before


def test_p10_another_value_is_another_outcome(stage):
    (task,) = stage.running("t1")
    stage.complete([task], ExecuteResult(value=b"1"))
    assert stage.complete([task], ExecuteResult(value=b"1")) == APPLIED
    assert stage.complete([task], ExecuteResult(value=b"2")).lost == (task.task_id,)
    assert stage.task(task.task_id).execute_result == ExecuteResult(value=b"1")


def test_p10_a_retry_repeated_after_it_came_due_is_a_success(stage):
    (task,) = stage.running("t1")
    retry(stage, "r1", task)
    stage.clock.advance(10)
    stage.storage.promote_due(1)
    assert retry(stage, "r1", task) == APPLIED
    assert stage.status(task.task_id) is TaskStatus.CREATED
    assert stage.task(task.task_id).attempt == 1


def test_p10_a_batch_partly_applied_before_is_a_success_as_a_whole(stage):
    tasks = stage.running("a", "b", "c")
    stage.complete(tasks[:2])
    assert stage.complete(tasks) == APPLIED
    assert {stage.status(item.task_id) for item in tasks} == {TaskStatus.COMPLETED}


@pytest.mark.parametrize("ending", ENDINGS, ids=by_name)
def test_p10_an_ending_of_a_task_asked_to_cancel_is_answered_alike_again(stage, ending):
    (task,) = stage.running("t1")
    stage.storage.cancel_many([task.task_id])
    assert ending(stage, "r1", task) == WriteReport(canceled=(task.task_id,))
    before = stage.everything()
    assert ending(stage, "r1", task) == WriteReport(canceled=(task.task_id,))
    assert stage.everything() == before


def test_a_write_reports_the_lost_and_applies_the_rest(stage):
    mine = stage.running("a", "b", "c", "d")
    (other,) = stage.running("e", runner_id="r2")
    stage.storage.cancel_many([mine[1].task_id])
    stage.storage.release_many("r1", [mine[2]], "drain")
    report = stage.complete([mine[0], mine[1], mine[2], mine[3], other])
    assert sorted(report.lost) == sorted([mine[2].task_id, other.task_id])
    assert report.canceled == (mine[1].task_id,)
    assert [stage.status(item.task_id) for item in [*mine, other]] == [
        TaskStatus.COMPLETED,
        TaskStatus.CANCELED,
        TaskStatus.CREATED,
        TaskStatus.COMPLETED,
        TaskStatus.RUNNING,
    ]


def test_empty_batches_of_writes_do_nothing(stage):
    for report in (
        stage.storage.complete_many("r1", []),
        stage.storage.retry_many("r1", []),
        stage.storage.release_many("r1", [], "drain"),
        stage.storage.mark_started("r1", []),
        stage.storage.heartbeat_many("r1", []),
    ):
        assert report == APPLIED
    assert stage.storage.requeue_many([]) == ()
    assert stage.storage.absolve("r1", []) == 0


def test_one_task_twice_in_a_batch_is_written_once(stage):
    first, second, third = stage.running("a", "b", "c")
    assert stage.complete([first, first], FAILURE) == APPLIED
    assert stage.storage.release_many("r1", [second, second], "drain") == APPLIED
    request = RetryRequest(third.task_id, 1, 0, "boom")
    assert stage.storage.retry_many("r1", [request, request]) == APPLIED
    assert stage.task(third.task_id).attempt == 1
    for task in (first, second, third):
        assert len(stage.storage.attempts(task.task_id)) == 1
