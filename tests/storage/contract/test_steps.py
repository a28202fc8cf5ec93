"""Steps: stored once, by the owner only, kept as long as the task."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mqtasks.conditions import where
from mqtasks.errors import InvalidArgument
from mqtasks.model import RunnerState, StepRecord, TaskEpoch
from mqtasks.storage.contract import Allocation
from tests.support.races import race
from tests.support.stage import FAILURE, LEASE_MS, MAX_CRASHES

PATIENCE = 30


def step(name="load", number=1, value=b"j1"):
    return StepRecord(name, number, 0, 0, value)


def test_a_step_is_stored_with_epoch_and_time(stage):
    (task,) = stage.running("t")
    stage.clock.advance(2)
    saved = stage.storage.save_step("r1", task, step())
    assert saved == StepRecord("load", 1, 1, stage.now, b"j1")
    assert stage.storage.steps(task.task_id) == [saved]
    assert stage.storage.steps(task.task_id + 1) == []


def test_steps_come_by_number(stage):
    (task,) = stage.running("t")
    for name, number in (("b", 2), ("c", 3), ("a", 1)):
        assert stage.storage.save_step("r1", task, step(name, number))
    assert [item.name for item in stage.storage.steps(task.task_id)] == ["a", "b", "c"]


def test_p10_a_repeated_write_finds_its_own_and_a_stored_step_stays(stage):
    (task,) = stage.running("t")
    first = stage.storage.save_step("r1", task, step())
    stage.clock.advance(1)
    assert stage.storage.save_step("r1", task, step()) == first
    assert stage.storage.save_step("r1", task, step(number=2, value=b"other")) == first
    assert stage.storage.steps(task.task_id) == [first]


@pytest.mark.parametrize("name", ["a", "A", "a ", "ä", "a\0", "😀", "x" * 255])
def test_p11_names_are_compared_byte_by_byte(stage, name):
    (task,) = stage.running("t")
    stage.storage.save_step("r1", task, step("a", 1, b"first"))
    saved = stage.storage.save_step("r1", task, step(name, 2, b"second"))
    assert saved.name == name
    assert saved.value == (b"first" if name == "a" else b"second")


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (step(""), "step.name"),
        (step("x" * 256), "step.name"),
        (step(number=-1), "step.number"),
        (step(value="text"), "step.value"),
    ],
)
def test_bad_steps_are_refused(stage, bad, field):
    (task,) = stage.running("t")
    with pytest.raises(InvalidArgument, match=field):
        stage.storage.save_step("r1", task, bad)
    assert stage.storage.steps(task.task_id) == []


def test_a_large_result_survives(stage):
    (task,) = stage.running("t")
    value = bytes(range(256)) * 4096
    assert stage.storage.save_step("r1", task, step(value=value)).value == value
    assert stage.storage.steps(task.task_id)[0].value == value


# -- fencing -----------------------------------------------------------------------------------


def nobody_writes(stage, task):
    before = stage.storage.steps(task.task_id)
    assert stage.storage.save_step("r1", task, step("late", 9)) is None
    assert stage.storage.steps(task.task_id) == before


def test_others_write_no_step(stage):
    (task,) = stage.running("t")
    assert stage.storage.save_step("r2", task, step()) is None
    assert stage.storage.save_step("r1", TaskEpoch(task.task_id, 2), step()) is None
    assert stage.storage.save_step("r1", TaskEpoch(task.task_id + 1, 1), step()) is None
    assert stage.storage.steps(task.task_id) == []


def test_g3_a_stale_epoch_writes_no_step_after_a_release(stage):
    (task,) = stage.running("t")
    stage.storage.release_many("r1", [task], "drain")
    nobody_writes(stage, task)
    (again,) = stage.allocate([task.task_id])
    nobody_writes(stage, task)
    assert stage.storage.save_step("r1", again, step()).epoch == 2


def test_an_ended_task_takes_no_step(stage):
    (task,) = stage.running("t")
    stage.complete([task])
    nobody_writes(stage, task)


def test_a_task_asked_to_cancel_still_takes_steps(stage):
    (task,) = stage.running("t")
    stage.storage.cancel_many([task.task_id])
    assert stage.storage.save_step("r1", task, step())


def test_p4_a_rescued_tasks_zombie_writes_no_step(stage):
    (task,) = stage.running("t")
    stage.storage.save_step("r1", task, step())
    stage.clock.advance(LEASE_MS / 1000 + 1)
    assert stage.storage.fence_lapsed(stage.leadership, "r1", 1, MAX_CRASHES)
    nobody_writes(stage, task)
    stage.register("r2")
    (again,) = stage.allocate([task.task_id], "r2")
    nobody_writes(stage, task)
    assert stage.storage.save_step("r2", again, step("send", 2))
    assert [(s.name, s.epoch) for s in stage.storage.steps(task.task_id)] == [
        ("load", 1),
        ("send", 2),
    ]


def test_p4_steps_race_with_a_rescue_and_never_follow_it(opener, clock):
    """Two connections: once the task has moved, the next owner has seen every step there is."""
    ours, theirs = opener(clock), opener(clock)
    ids = [made.task_id for made in ours.create_tasks(_tasks(40))]
    _register(ours, "r1")
    _register(ours, "r2")
    given = [Allocation(task_id, 0, "r1", 1) for task_id in ids]
    assert ours.allocate_many(given) == frozenset(ids)

    def write(task_id):
        return lambda: ours.save_step("r1", TaskEpoch(task_id, 1), step())

    def move(task_id):
        def rescue():
            assert theirs.allocate_many([Allocation(task_id, 1, "r2", 1)])
            return theirs.steps(task_id)  # what the next execution starts from

        return rescue

    saved, seen = race([[write(task_id) for task_id in ids], [move(task_id) for task_id in ids]])
    for task_id, mine, start in zip(ids, saved, seen, strict=True):
        assert start == ([] if mine is None else [mine])
        assert ours.steps(task_id) == start


def test_p4_a_write_that_waits_for_a_rescue_is_refused(opener, clock):
    """A latch: the rescue holds the row while the zombie's statement arrives."""
    ours, theirs = opener(clock), opener(clock)
    if not ours.capabilities.concurrent_writers:
        pytest.skip("no row locks: writers come one after the other anyway")
    [made] = ours.create_tasks(_tasks(1))
    _register(ours, "r1")
    _register(ours, "r2")
    assert ours.allocate_many([Allocation(made.task_id, 0, "r1", 1)])
    began = threading.Event()

    def zombie():
        began.set()
        return ours.save_step("r1", TaskEpoch(made.task_id, 1), step())

    with ThreadPoolExecutor(1) as threads:

        def rescue(session):
            session.rows_in("lock_tasks", [made.task_id])
            late = threads.submit(zombie)
            assert began.wait(PATIENCE)
            with pytest.raises(TimeoutError):
                late.result(0.2)  # it waits for the row
            session.run_in("release", [made.task_id])
            return late

        late = theirs.database.transact(rescue)
        assert late.result(PATIENCE) is None
    assert ours.steps(made.task_id) == []


def _tasks(count):
    from tests.support.stage import new

    return [new(f"t{n}") for n in range(count)]


def _register(storage, runner_id):
    from mqtasks.model import RunnerRecord

    assert storage.register_runner(RunnerRecord(id=runner_id, holder="h"), LEASE_MS, 3) == 1


# -- how long they are kept --------------------------------------------------------------------


@pytest.fixture
def stepped(stage):
    """A failed task with two steps."""
    (task,) = stage.running("t")
    for number, name in enumerate(("load", "send"), 1):
        stage.storage.save_step("r1", task, step(name, number))
    stage.complete([task], FAILURE)
    return task.task_id


def test_steps_go_with_a_deleted_task(stage, stepped):
    assert stage.storage.delete(where.task_id == stepped) == 1
    assert stage.storage.steps(stepped) == []


def test_steps_go_with_a_pruned_task(stage, stepped):
    stage.clock.advance(1)
    assert stage.storage.prune(0, 10, 0, 0).deleted == 1
    assert stage.storage.steps(stepped) == []


def test_a_requeued_task_keeps_its_steps_unless_told_otherwise(stage, stepped):
    stage.storage.requeue_many([stepped])
    assert [item.name for item in stage.storage.steps(stepped)] == ["load", "send"]
    (again,) = stage.allocate([stepped])
    stage.complete([again], FAILURE)
    other = stage.create("other")
    assert stage.storage.requeue_many([stepped, *other], keep_steps=False) == (stepped,)
    assert stage.storage.steps(stepped) == []


def test_a_task_that_cannot_be_requeued_keeps_its_steps(stage):
    (task,) = stage.running("t")
    stage.storage.save_step("r1", task, step())
    assert stage.storage.requeue_many([task.task_id], keep_steps=False) == ()
    assert len(stage.storage.steps(task.task_id)) == 1


def test_a_stopped_runner_writes_no_step_for_what_was_taken_from_it(stage):
    (task,) = stage.running("t")
    stage.storage.set_runner_state("r1", 1, RunnerState.STOPPED)
    stage.storage.rescue_orphans(stage.leadership, "r1", MAX_CRASHES)
    nobody_writes(stage, task)


# -- who has ended -----------------------------------------------------------------------------


def test_unended_tells_who_is_still_on_the_way(stage):
    running, failed, succeeded, asked = stage.running("a", "b", "c", "d")
    stage.complete([failed], FAILURE)
    stage.complete([succeeded])
    created, canceled = stage.create("e", "f")
    (scheduled,) = stage.create("g", delay_duration=60)
    stage.storage.cancel_many([asked.task_id, canceled])
    everything = [item.task_id for item in (running, failed, succeeded, asked)]
    everything += [created, canceled, scheduled, 10**9, running.task_id]
    assert stage.storage.unended(everything) == {
        running.task_id,
        asked.task_id,
        created,
        scheduled,
    }
    assert stage.storage.unended([]) == frozenset()
