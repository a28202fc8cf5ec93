"""Plans, and children, in the testing kit (S7, S12)."""

from __future__ import annotations

import pytest

from mqtasks import MQTasks, ResultCode, TaskCanceled, TaskHandle, chain, group
from mqtasks.testing import TaskTester, every_crash_point, inline, manual
from mqtasks.worker import current_context

app = MQTasks("memory://")
runs: list[str] = []


@app.task
def leaf(number: int) -> int:
    """Return the number; negative ones fail."""
    if number < 0:
        raise ValueError("negative")
    runs.append(f"leaf {number}")
    return number


@app.task
def total() -> int:
    """Add up what the parents returned."""
    runs.append("total")
    return sum(current_context().parent_results(int))


@app.task
def parent(count: int) -> str:
    """Make children, and what follows them."""
    context = current_context()
    made = [context.enqueue_child(leaf.s(number)) for number in range(count)]
    return context.enqueue_child(total.s(), after=made).id


@pytest.fixture(autouse=True)
def no_runs():
    runs.clear()


@pytest.mark.parametrize("mode", [manual, inline])
def test_s12_a_drain_runs_a_whole_plan(mode) -> None:
    with mode(app) as tester:
        last = group([leaf.s(n) for n in (1, 2, 3)]).then(total.s()).enqueue()
        tester.drain()
        assert last.result() == 6
    assert runs == ["leaf 1", "leaf 2", "leaf 3", "total"]


def test_s12_a_failure_ends_what_waits() -> None:
    with manual(app) as tester:
        last = chain(leaf.s(-1), leaf.s(1), total.s()).enqueue(id="p")
        tester.drain()
        with pytest.raises(TaskCanceled, match="parent 'p/1' was canceled"):
            last.result()
    assert runs == []


@pytest.mark.parametrize("mode", [manual, inline])
def test_s12_a_drain_runs_children(mode) -> None:
    with mode(app) as tester:
        handle = parent.enqueue(3)
        tester.drain()
        assert app.handle(handle.result()).result() == 3


def test_s12_plans_and_children_survive_a_crash_anywhere() -> None:
    """Whoever dies, or is frozen, wherever: each row is there once, and ends as it should."""

    def scenario(_tester: TaskTester) -> tuple[TaskHandle[int], TaskHandle[str]]:
        pair = group([chain(leaf.s(1), total.s()), leaf.s(2)])
        return pair.then(total.s()).enqueue(id="plan"), parent.options(id="maker").enqueue(2)

    def invariant(made: tuple[TaskHandle[int], TaskHandle[str]]) -> None:
        last, maker = made
        assert last.result(0) == 3
        assert app.handle(maker.result(0)).result(0) == 1
        stored = {task.metadata.id: task for task in app.service.query_task()}
        expected = {"plan", *(f"plan/{n}" for n in range(3)), "maker", "maker/total:0"}
        assert stored.keys() == expected | {"maker/leaf:0", "maker/leaf:1"}
        for task in stored.values():
            assert task.execute_result is not None
            assert task.execute_result.code is ResultCode.SUCCESS
            # One attempt row for each allocation that a crash has ended; the last one succeeded.
            assert task.epoch == 1 + len(app.service.attempts(task.id))

    assert every_crash_point(app, scenario, invariant) >= 3 * 8
