"""Crash points: the process of a runner dies, and what follows is what production does."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mqtasks import InvalidTask, MQTasks, MQTasksError, TaskFailed
from mqtasks.errors import InvalidArgument
from mqtasks.model import AttemptOutcome
from mqtasks.testing import CRASH_POINTS, TaskTester, every_crash_point
from mqtasks.worker import current_context
from tests.testing import shop


def outcomes(tester: TaskTester, task_id: int) -> list[AttemptOutcome]:
    return [AttemptOutcome(one.outcome) for one in tester.service.attempts(task_id)]


@pytest.mark.parametrize("task", [shop.note, shop.anote], ids=["plain", "async"])
@pytest.mark.parametrize(
    ("point", "runs", "epoch", "crashes"),
    [("before_run", 1, 2, 1), ("after_run", 2, 2, 1), ("after_commit", 1, 1, 0)],
)
def test_a_crashed_task_runs_again_elsewhere(
    mqtasks_app: TaskTester, task: object, point: str, runs: int, epoch: int, crashes: int
) -> None:
    with mqtasks_app.crash(point, task=task) as crash:  # type: ignore[arg-type]
        handle = task.enqueue("x")  # type: ignore[attr-defined]
        report = mqtasks_app.drain()

    row = handle.fetch()
    assert shop.events == ["x"] * runs
    assert (row.epoch, row.crashes, handle.result()) == (epoch, crashes, "x")
    assert outcomes(mqtasks_app, handle.task_id) == [AttemptOutcome.CRASHED] * crashes
    assert (len(report.crashed), crash.happened) == (crashes, 1)
    assert {one.runner for one in mqtasks_app.service.attempts(handle.task_id)} <= {"testing-1"}
    assert row.runner == ("testing-1" if point == "after_commit" else "testing-2")


def test_a_task_that_always_crashes_is_given_up(mqtasks_app: TaskTester) -> None:
    with mqtasks_app.crash("after_run", task=shop.note, times=10) as crash:
        handle = shop.note.enqueue("poison")
        other = shop.anote.enqueue("neighbour")
        mqtasks_app.drain()

    with pytest.raises(TaskFailed, match="crash"):
        handle.result()
    assert other.result() == "neighbour"
    assert crash.happened == 4  # max_crashes is 3


def test_a_crash_after_a_step_keeps_the_step(mqtasks_app: TaskTester) -> None:
    with mqtasks_app.crash("after_step", step="first"):
        handle = shop.two_steps.enqueue()
        mqtasks_app.drain()

    assert shop.events == ["first", "second"]
    assert (handle.result(), handle.fetch().epoch) == ("firstsecond", 2)


def test_an_execution_may_be_chosen(mqtasks_app: TaskTester) -> None:
    with mqtasks_app.crash("before_run", skip=1) as crash:
        shop.note.enqueue_many([("a",), ("b",)])
        mqtasks_app.drain()

    assert crash.victims == ["before_run of note (task 2, epoch 1)"]


def test_a_crash_costs_the_others_nothing(mqtasks_app: TaskTester) -> None:
    with mqtasks_app.crash("after_run", task=shop.anote):
        others = shop.note.enqueue_many([(n,) for n in range(3)])
        shop.anote.enqueue("victim")
        mqtasks_app.drain()

    assert [handle.fetch().epoch for handle in others] == [1, 1, 1]


def test_a_failed_attempt_may_be_lost_in_a_crash(mqtasks_app: TaskTester) -> None:
    with mqtasks_app.crash("after_run"):
        handle = shop.flaky.enqueue(1)
        mqtasks_app.drain()

    row = handle.fetch()
    assert (row.attempt, row.crashes, row.epoch) == (1, 1, 2)


def test_a_parent_that_dies_makes_its_children_once_more(mqtasks_app: TaskTester) -> None:
    with mqtasks_app.crash("after_run", task=shop.parent):
        handle = shop.parent.enqueue("a")
        mqtasks_app.drain()

    assert handle.result() == ["a"]
    mqtasks_app.assert_enqueued(shop.note, "a", count=2)


def test_inline_tasks_crash_as_well(mqtasks_app: TaskTester) -> None:
    with mqtasks_app.inline(), mqtasks_app.crash("after_run"):
        assert shop.note.enqueue("x").result(0) == "x"

    assert shop.events == ["x", "x"]


def test_a_crash_that_does_not_happen_is_an_error(mqtasks_app: TaskTester) -> None:
    expected = pytest.raises(MQTasksError, match="no process has died at after_run of 'note'")
    with expected, mqtasks_app.crash("after_run", task=shop.note):
        shop.note.enqueue("x")  # and nobody drains


@pytest.mark.parametrize("task", [shop.note, shop.anote], ids=["plain", "async"])
def test_a_frozen_process_comes_back_as_a_zombie(mqtasks_app: TaskTester, task: object) -> None:
    with mqtasks_app.crash("frozen", task=task):  # type: ignore[arg-type]
        handle = task.enqueue("x")  # type: ignore[attr-defined]
        report = mqtasks_app.drain()

    assert [(one.epoch, one.ended) for one in report.ran] == [(2, "succeeded"), (1, "fenced")]
    row = handle.fetch()
    assert (shop.events, row.epoch, row.crashes) == (["x", "x"], 2, 0)
    assert handle.result() == "x"
    shop.note.enqueue("the next one runs as ever")
    assert [one.ended for one in mqtasks_app.drain().ran] == ["succeeded"]


def test_a_zombies_transaction_is_refused(mqtasks_app: TaskTester, tmp_path: Path) -> None:
    file = tmp_path / "orders.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE orders (epoch INTEGER)")

    @shop.app.task(name=f"order-{id(mqtasks_app)}")
    def order() -> None:
        context = current_context()
        with context.transaction(connection):
            connection.execute("INSERT INTO orders VALUES (?)", (context.epoch,))

    with mqtasks_app.crash("frozen"):
        order.enqueue()
        report = mqtasks_app.drain()

    assert isinstance(report.of("fenced")[0].error, InvalidTask)
    assert connection.execute("SELECT epoch FROM orders").fetchall() == [(2,)]
    connection.close()


def test_plans_are_checked(mqtasks_app: TaskTester) -> None:
    with pytest.raises(InvalidArgument, match="point='sometime'"):
        mqtasks_app.crash("sometime").__enter__()  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="after_step"):
        mqtasks_app.crash("after_run", step="x").__enter__()
    with pytest.raises(InvalidArgument, match="times=0"):
        mqtasks_app.crash("after_run", times=0).__enter__()


# -- every crash point -----------------------------------------------------------------------


class Bank:
    """Accounts whose every booking has a name, so that it can be told from its repetition."""

    def __init__(self) -> None:
        self.balance = 0
        self.booked: set[str] = set()


app = MQTasks("mysql://nobody@127.0.0.1:1/nothing")
banks: list[Bank] = []


@app.task(max_retry_times=1)
def careless(amount: int) -> None:
    banks[-1].balance += amount


@app.task
def careful(amount: int) -> None:
    name = current_context().task.metadata.id
    if name not in banks[-1].booked:
        banks[-1].booked.add(name)
        banks[-1].balance += amount


def bank() -> Bank:
    banks.append(Bank())
    return banks[-1]


def test_an_idempotent_task_survives_every_crash() -> None:
    def scenario(_tasks: TaskTester) -> Bank:
        fresh = bank()
        careful.enqueue_many([(10,), (20,)])
        return fresh

    tried = every_crash_point(app, scenario, lambda state: state.balance == 30)

    # For each of two executions; that which follows a crash is not broken off.
    assert tried == (len(CRASH_POINTS) + 1) * 2


def test_a_careless_task_is_found_out() -> None:
    def scenario(_tasks: TaskTester) -> Bank:
        fresh = bank()
        careless.enqueue(10)
        return fresh

    def invariant(state: Bank) -> None:
        assert state.balance == 10

    with pytest.raises(AssertionError, match=r"after a crash after_run of careless \(task 1"):
        every_crash_point(app, scenario, invariant)
    with pytest.raises(AssertionError, match="the invariant does not hold"):
        every_crash_point(app, scenario, lambda state: state.balance == 10, task=careless)
    assert every_crash_point(app, scenario, invariant, points=["before_run", "after_commit"]) == 2


def test_a_scenario_that_is_wrong_without_a_crash_is_told_apart() -> None:
    with pytest.raises(AssertionError, match="without any crash"):
        every_crash_point(app, lambda _tasks: None, lambda _state: False)


def test_what_is_retried_or_delayed_runs_to_its_end() -> None:
    def scenario(tasks: TaskTester) -> list[object]:
        shop.events.clear()
        shop.flaky.options(delay=3600).enqueue(2)
        return shop.events

    def invariant(events: list[object]) -> None:
        assert events[-1] == 2

    assert every_crash_point(shop.app, scenario, invariant) == (len(CRASH_POINTS) + 1) * 3


def test_a_scenario_that_never_ends_is_given_up() -> None:
    @app.task(name="for-ever")
    def for_ever() -> None:
        for_ever.options(delay=1).enqueue()

    with pytest.raises(MQTasksError, match="does one delay itself for ever"):
        every_crash_point(app, lambda _tasks: for_ever.enqueue(), lambda _state: True)


def test_steps_are_crash_points() -> None:
    def scenario(tasks: TaskTester) -> TaskTester:
        shop.events.clear()
        shop.two_steps.enqueue()
        return tasks

    def invariant(_tasks: TaskTester) -> None:
        assert shop.events == ["first", "second"]

    points = (*CRASH_POINTS, "after_step")
    assert every_crash_point(shop.app, scenario, invariant, points=points) == 3 + 2
    # One that was frozen does not know that others went on: its step runs, and is refused.
    with pytest.raises(AssertionError, match="after a crash frozen of two_steps"):
        every_crash_point(shop.app, scenario, invariant, points=["frozen"])
