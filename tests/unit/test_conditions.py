"""The language of conditions: what it refuses, and how its parts are put together."""

from __future__ import annotations

import pytest

from mqtasks.conditions import FIELDS, Compare, Condition, Op, Selection, where
from mqtasks.errors import InvalidCondition
from mqtasks.model import AsyncTask, TaskMetadata, TaskStatus


def task(task_id: int = 1, metadata_id: str = "t", executor: int | str = "x", **fields):
    return AsyncTask(id=task_id, metadata=TaskMetadata(metadata_id, executor), **fields)


@pytest.mark.parametrize(
    ("condition", "op"),
    [
        (where.task_id == 5, Op.EQ),
        (where.task_id != 5, Op.NE),
        (where.task_id > 5, Op.GT),
        (where.task_id >= 5, Op.GE),
        (where.task_id < 5, Op.LT),
        (where.task_id <= 5, Op.LE),
    ],
)
def test_comparing_a_field_makes_a_condition(condition, op):
    assert condition == Compare("task_id", op, 5)
    assert condition == where.task_id.compare(op, 5)
    expected = {"=": [5], "!=": [4, 6], ">": [6], ">=": [5, 6], "<": [4], "<=": [4, 5]}[op.value]
    chosen = Selection([condition]).apply([task(number) for number in (4, 5, 6)])
    assert [item.id for item in chosen] == expected


def test_p16_every_field_of_the_reference_can_be_named():
    names = {"epoch", "executor", "task_id", "parent_task_id", "runner", "status"}
    assert names < set(FIELDS)
    for name in FIELDS:
        assert getattr(where, name).name == name


def test_in_takes_lists_and_matches_nothing_when_empty():
    assert where.task_id.in_([1, 2]) == where.task_id.compare(Op.IN, iter([1, 2]))
    tasks = [task(1), task(2), task(3)]
    assert [item.id for item in Selection([where.task_id.in_([3, 1, 3])]).apply(tasks)] == [1, 3]
    assert Selection([where.task_id.in_([])]).apply(tasks) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: where.task_id == "5",
        lambda: where.task_id == 5.0,
        lambda: where.task_id == True,  # noqa: E712 - a Field makes a condition of it
        lambda: where.task_id == None,  # noqa: E711 - the same
        lambda: where.task_id == -1,
        lambda: where.task_id < 2**64,
        lambda: where.epoch.in_([1, "2"]),
        lambda: where.status == 99,
        lambda: where.status == "RUNNING",
        lambda: where.status.in_([TaskStatus.RUNNING, 99]),
        lambda: where.executor == None,  # noqa: E711 - as above
        lambda: where.executor == 1.5,
        lambda: where.limit(-1),
        lambda: where.limit(True),
        lambda: where.limit("5"),  # type: ignore[arg-type]
        lambda: where.task_id.compare(Op.IN, 5),
        lambda: where.runner.compare(Op.IN, "abc"),
        lambda: Selection(["status = 1"]),  # type: ignore[list-item]
        lambda: Selection([Condition()]),
    ],
)
def test_what_cannot_be_compared_is_refused_with_a_remedy(make):
    with pytest.raises(InvalidCondition) as raised:
        make()
    assert raised.value.remedy


@pytest.mark.parametrize(
    "make",
    [
        lambda: where.runner == 5,
        lambda: where.metadata_id == b"x",
        lambda: where.runner == "x" * 256,
        lambda: where.metadata_id == "\ud800",
        lambda: where.executor == "123",
        lambda: where.executor == 2**32,
        lambda: where.executor == -1,
    ],
)
def test_text_that_no_row_can_hold_is_refused(make):
    """Such a condition is a mistake of its author; a storage could only answer 'none'."""
    with pytest.raises(InvalidCondition):
        make()


def test_executors_are_compared_in_their_stored_form():
    tasks = [task(1, executor=2), task(2, executor=10), task(3, executor="name")]
    chosen = Selection([where.executor >= 10]).apply(tasks)
    assert [item.id for item in chosen] == [2, 3]  # every name comes after every number


def test_text_is_compared_by_its_bytes():
    # U+FFFF is above U+10000 in UTF-16, but not in UTF-8.
    tasks = [task(1, "\uffff"), task(2, "\U00010000"), task(3, "a"), task(4, "Z")]
    order = [item.id for item in tasks if Selection([where.metadata_id > "\uffff"]).matches(item)]
    assert order == [2]
    assert Selection([where.metadata_id < "a"]).apply(tasks) == [tasks[3]]


def test_a_selection_ands_comparisons_and_takes_the_smallest_limit():
    tasks = [task(number) for number in range(1, 10)]
    selection = Selection(
        [where.limit(3), where.task_id > 2, where.task_id < 8, where.limit(2), where.limit(5)]
    )
    assert [item.id for item in selection.apply(reversed(tasks))] == [3, 4]
    backwards = Selection([where.task_id_desc(), where.limit(2), where.everything()])
    assert [item.id for item in backwards.apply(tasks)] == [9, 8]
    assert Selection([where.limit(0)]).apply(tasks) == []


@pytest.mark.parametrize("conditions", [[], [where.limit(1)], [where.task_id_desc()]])
def test_p16_touching_everything_must_be_said(conditions):
    with pytest.raises(InvalidCondition, match=r"everything\(\)"):
        Selection(conditions).demand_explicit("delete")
    Selection([*conditions, where.everything()]).demand_explicit("delete")
    Selection([*conditions, where.task_id == 1]).demand_explicit("delete")


def test_fields_cannot_be_used_as_values_or_keys():
    with pytest.raises(TypeError):
        hash(where.task_id)
