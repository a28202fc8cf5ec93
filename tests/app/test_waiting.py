"""Waiting for many tasks at once (S5)."""

from __future__ import annotations

import threading

import pytest

from mqtasks import (
    InvalidArgument,
    MQTasks,
    ResultTimeout,
    Scheduler,
    TaskCanceled,
    TaskFailed,
    TaskRunner,
    as_completed,
    results,
    wait,
)

DEADLINE = 30.0


@pytest.fixture
def app():
    with MQTasks("memory://") as made:
        yield made


@pytest.fixture
def gates(app: MQTasks):
    """A task per gate: each ends when its gate opens; negative numbers fail."""
    opened = {number: threading.Event() for number in range(-1, 4)}

    @app.task
    def work(number: int) -> int:
        assert opened[number].wait(DEADLINE)
        if number < 0:
            raise ValueError("negative")
        return number * 10

    with Scheduler(app.service), TaskRunner("r", app.service, registry=app.registry):
        yield work, opened
        for gate in opened.values():
            gate.set()


def test_s5_handles_come_as_their_tasks_end(gates):
    work, opened = gates
    handles = [work.enqueue(number) for number in range(3)]
    came = as_completed(handles, DEADLINE)
    order = []
    for number in (2, 0, 1):
        opened[number].set()
        order.append(next(came).result(0))
    assert order == [20, 0, 10]
    assert list(came) == []


def test_s5_results_come_in_the_order_given(gates):
    work, opened = gates
    handles = [work.enqueue(number) for number in (3, 1, 3)]
    opened[3].set()
    opened[1].set()
    assert results([*handles, handles[0]], DEADLINE) == [30, 10, 30, 30]


def test_s5_results_raise_what_the_first_that_did_not_succeed_raises(gates):
    work, opened = gates
    good, bad = work.enqueue(1), work.enqueue(-1)
    gone = work.options(delay=3600).enqueue(2)
    gone.cancel()
    opened[1].set()
    opened[-1].set()
    with pytest.raises(TaskFailed, match="negative"):
        results([good, bad, gone], DEADLINE)
    with pytest.raises(TaskCanceled):
        results([good, gone, bad], DEADLINE)


def test_s5_a_wait_tells_what_is_done_and_what_is_not(gates):
    work, opened = gates
    first, second = work.enqueue(0), work.enqueue(1)
    assert wait([first, second], 0) == ([], [first, second])
    opened[1].set()
    assert wait([first, second], DEADLINE, "first") == ([second], [first])
    opened[0].set()
    assert wait([first, second], DEADLINE) == ([first, second], [])
    assert wait([], 0) == ([], [])


def test_s5_a_wait_may_end_with_the_first_failure(gates):
    work, opened = gates
    slow, bad, good = work.enqueue(0), work.enqueue(-1), work.enqueue(1)
    opened[1].set()
    assert good.wait(DEADLINE)
    opened[-1].set()
    done, pending = wait([slow, bad, good], DEADLINE, "failure")
    assert (bad in done, pending) == (True, [slow])
    with pytest.raises(InvalidArgument, match="'all', 'first' or 'failure'"):
        wait([slow], 0, "any")  # type: ignore[arg-type]


def test_s5_a_timeout_says_how_many_are_left_and_keeps_what_came(gates):
    work, opened = gates
    handles = [work.enqueue(number) for number in range(3)]
    opened[1].set()
    assert handles[1].wait(DEADLINE)
    came = as_completed(handles, 0.05)
    assert next(came) is handles[1]
    with pytest.raises(ResultTimeout, match=r"and 1 others have not ended after 0\.05 s") as caught:
        next(came)
    assert caught.value.tasks == 2


def test_s5_a_task_made_elsewhere_is_found_by_number_and_by_id(app, gates):
    work, opened = gates
    made = work.options(id="order-7").enqueue(2)
    opened[2].set()
    assert app.handle(made.task_id).result(DEADLINE) == 20
    assert app.handle("order-7").result(DEADLINE) == 20
