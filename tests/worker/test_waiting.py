"""The order in which waiting tasks get slots: turns of tenants, priority, patience (S11, M12)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from mqtasks.model import AsyncTask, TaskMetadata, TaskOptions
from mqtasks.worker.held import Held, hold
from mqtasks.worker.waiting import PATIENCE, Waiting

EXECUTOR: Any = None


def task(number: int, now: float = 0.0, **options: Any) -> Held:
    made = TaskOptions(**options)
    row = AsyncTask(
        id=number, metadata=TaskMetadata(str(number), "work", options=made), priority=made.priority
    )
    return hold(row, EXECUTOR, now)


def drained(waiting: Waiting, now: float = 0.0) -> list[int]:
    order = []
    while (held := waiting.pop(now)) is not None:
        order.append(held.task_id)
    return order


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


def test_m12_the_highest_priority_comes_first_then_the_order_of_arrival(waiting):
    for number, priority in enumerate([0, 5, 0, 9, 5, 0]):
        waiting.push(task(number, priority=priority))
    assert len(waiting) == 6
    assert drained(waiting) == [3, 1, 4, 0, 2, 5]
    assert not waiting


def test_m12_who_has_waited_too_long_is_passed_by_no_more(waiting):
    """An endless stream of a higher priority must not keep a task at the runner for ever."""
    waiting.push(task(0, now=10.0))
    now, served = 10.0, []
    for number in range(1, 100):
        waiting.push(task(number, now=now, priority=9))
        now += 0.125
        served.append(waiting.pop(now).task_id)
        if served[-1] == 0:
            break
    assert served[-1] == 0
    assert now - 10.0 == PATIENCE


def test_s11_tenants_take_turns_whatever_one_of_them_has_waiting(waiting):
    for number in range(100):
        waiting.push(task(number, tenant="a", priority=5))
    for number in (200, 201):
        waiting.push(task(number, tenant="b"))
    waiting.push(task(300))
    assert drained(waiting)[:8] == [0, 200, 300, 1, 201, 2, 3, 4]


def test_s11_a_tenant_that_comes_late_is_served_within_one_round(waiting):
    tenants = [f"t{i}" for i in range(5)]
    for number in range(500):
        waiting.push(task(number, tenant=tenants[number % 5]))
    for turn in range(20):
        waiting.push(task(1000 + turn, tenant="late"))
        served = [waiting.pop(0.0).task_id for _ in range(6)]
        assert 1000 + turn in served
    left = Counter(number % 5 for number in drained(waiting))
    assert set(left.values()) == {80}


def test_what_is_taken_back_would_have_started_last(waiting):
    for number in range(4):
        waiting.push(task(number, tenant="a", priority=number % 2))
    waiting.push(task(10, tenant="b"))
    assert [held.task_id for held in waiting.take(lambda _: True, 3)] == [2, 0, 3]
    assert [held.task_id for held in waiting.take(lambda held: held.task_id == 10)] == [10]
    assert drained(waiting) == [1]


def test_tenants_that_have_gone_cost_nothing(waiting):
    for number in range(1000):
        waiting.push(task(number, tenant=f"t{number}"))
        waiting.pop(0.0)
    assert len(waiting._turns) <= 2
    assert len(waiting._lines) <= 2
