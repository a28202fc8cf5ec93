"""P8, P14: the processes of a worker are killed, stopped, and told to stop."""

from __future__ import annotations

import os
import signal

from mqtasks.model import (
    AttemptOutcome,
    ResultCode,
    RunnerState,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
)
from mqtasks.scheduler import Scheduler, SchedulerOptions
from tests.support.history import gaps
from tests.support.site import eventually
from tests.worker.tree import PATIENT, QUICK, RETRIED, Tree, gone


def test_p14_a_killed_child_is_reported_at_once_and_only_what_ran_is_charged(site, service):
    tree = Tree(site, service, **PATIENT)
    child = tree.runner().pid
    running = tree.give("hold", 2)
    waiting = tree.give("pid", 3)
    tree.marked(*running)
    os.kill(child, signal.SIGKILL)
    tree.created(*running, *waiting)  # the lease would have lasted for a minute
    assert [t.crashes for t in service.storage.load(running)] == [1, 1]
    assert [t.crashes for t in service.storage.load(waiting)] == [0, 0, 0]
    [[crashed], [lost]] = [service.attempts(t) for t in (running[0], waiting[0])]
    assert (crashed.outcome, lost.outcome) == (AttemptOutcome.CRASHED, AttemptOutcome.LOST)
    assert "of its runner was ended by SIGKILL" in crashed.error
    assert lost.error == crashed.error
    row = tree.runner(generation=2)
    assert row.pid != child
    (again,) = tree.give("pid")
    tree.ended(again)
    assert site.stop(tree.process) == 0


def test_m10_a_task_that_ends_its_process_fails_after_max_crashes_and_burns_no_attempt(
    site, service
):
    tree = Tree(site, service, **PATIENT, max_crashes=1)
    tree.runner()
    with Scheduler(service, SchedulerOptions(max_crashes=1)):
        (leave,) = service.create_batch([TaskMetadata("leave", "leave", b"", RETRIED)])
        tree.ended(leave, timeout=60)
        neighbours = service.create_batch([TaskMetadata(f"n{n}", "pid") for n in range(3)])
        for task_id in neighbours:
            tree.ended(task_id, timeout=60)
    task = service.get(leave)
    assert task.execute_result.code is ResultCode.FAILED
    assert (task.crashes, task.attempt) == (2, 0)
    assert [a.outcome for a in service.attempts(leave)] == [AttemptOutcome.CRASHED] * 2
    assert gaps(service.storage) == {}


def limited(tree: Tree, code: str, count: int = 1) -> list[int]:
    """Give tasks that have half a second."""
    ids = tree.service.create_batch(
        [TaskMetadata(f"{code}-{n}", code, b"", TaskOptions(timeout=0.5)) for n in range(count)]
    )
    for task in tree.storage.load(ids):
        tree.service.allocate(task, "w")
    return ids


def test_m11_a_process_whose_interpreter_a_late_task_keeps_is_killed(site, service):
    """No thread of it can do anything, so its parent does; the lease never lapsed."""
    tree = Tree(site, service, **PATIENT)
    child = tree.runner().pid
    (hog,) = limited(tree, "hog")
    tree.created(hog)
    assert gone(child)
    assert service.get(hog).crashes == 1
    assert tree.runner(generation=2).pid != child
    assert "keeps the interpreter to itself" in site.logs()


def test_m11_a_process_whose_threads_are_all_lost_is_replaced_in_order(site, service):
    tree = Tree(site, service, **PATIENT)
    child = tree.runner().pid
    stuck = limited(tree, "stubborn", 2)
    for task_id in stuck:
        tree.ended(task_id)
    row = tree.runner(generation=2)
    assert row.pid != child
    for task in service.storage.load(stuck):
        (attempt,) = service.attempts(task.id)
        assert attempt.outcome == AttemptOutcome.TIMED_OUT
        assert "in stubborn" in attempt.traceback
        assert task.crashes == 0
    (again,) = tree.give("pid")
    tree.ended(again)
    assert "are lost in tasks" in site.logs()


def test_p14_a_killed_parent_takes_its_children_along(site, service):
    tree = Tree(site, service, **QUICK)
    child = tree.runner().pid
    (held,) = tree.give("hold")
    tree.process.kill()
    tree.process.wait(10)
    eventually(lambda: gone(child), 10, "the child is gone")
    assert tree.status(held) is TaskStatus.RUNNING  # until its lease lapses
    eventually(lambda: tree.storage.runners()[0].lease_remaining_ms <= 0, 10, "the lease lapses")


def test_p14_a_stopped_child_is_killed_and_reported(site, service):
    tree = Tree(site, service, **QUICK)
    child = tree.runner().pid
    (held,) = tree.give("hold")
    tree.marked(held)
    os.kill(child, signal.SIGSTOP)
    tree.created(held)
    assert gone(child)
    assert tree.runner(generation=2).pid != child


def test_a_first_signal_lets_tasks_finish_and_a_second_cancels_them(site, service):
    tree = Tree(site, service, "--processes", "2", **PATIENT)
    for n in (1, 2):
        tree.runner(runner_id=f"w-{n}")
    running = tree.give("hold", 2, "w-1")
    waiting = tree.give("pid", 3, "w-1")
    tree.marked(*running)
    tree.process.terminate()
    tree.created(*waiting)
    assert {tree.status(t) for t in running} == {TaskStatus.RUNNING}
    tree.process.terminate()
    assert tree.process.wait(20) == 0
    for task in service.storage.load(running):
        assert (task.status, task.attempt, task.crashes) == (TaskStatus.CREATED, 0, 0)
        assert [item.error for item in service.attempts(task.id)] == ["shutdown"]
    assert {row.state for row in service.storage.runners()} == {RunnerState.STOPPED}


def test_signals_to_the_whole_group_do_not_disturb_an_orderly_stop(site, service):
    tree = Tree(site, service, **PATIENT)
    tree.runner()
    (held,) = tree.give("hold")
    tree.marked(held)
    site.signal_tree(tree.process, signal.SIGINT)
    eventually(lambda: tree.storage.runners()[0].state is RunnerState.DRAINING, 20, "it drains")
    site.signal_tree(tree.process, signal.SIGINT)
    assert tree.process.wait(20) == 0
    assert tree.status(held) is TaskStatus.CREATED, "given back, as it saw the cancellation"


def test_a_third_signal_ends_everything_at_once(site, service):
    tree = Tree(site, service, **PATIENT)
    child = tree.runner().pid
    (held,) = tree.give("stubborn")
    tree.marked(held)
    for state in ("hands", "canceled", ""):
        tree.process.terminate()
        if state == "hands":
            eventually(
                lambda: tree.storage.runners()[0].state is RunnerState.DRAINING, 20, "it drains"
            )
        elif state:
            eventually(lambda: "canceled" in site.logs(), 20, "the second stage")
    assert tree.process.wait(10) == 1
    assert gone(child)
