"""Plans: batches that are made as a whole or not at all, whoever makes the same ids (S12, P10)."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
from msgspec.structs import replace

from mqtasks.conditions import where
from mqtasks.errors import InvalidArgument
from mqtasks.model import Created
from tests.support.links import linked, resolve, statuses
from tests.support.races import race
from tests.support.stage import new

MANY = 40


@pytest.fixture(params=["one statement", "several"], autouse=True)
def chunks(request, monkeypatch):
    """Whether a plan is inserted at once; if not, a conflict may come after rows were written."""
    if request.param == "several":
        monkeypatch.setattr("mqtasks.storage.mysql.session._MOST_ROWS", 2)
        monkeypatch.setattr("mqtasks.storage.sqlite.session._INSERT_CHUNK", 2)


def chain(plan, length, context=b"{}", **fields):
    """Return a plan of tasks one after the other, named as `mqtasks.chain` does."""
    names = [*(f"{plan}/{n}" for n in range(length - 1)), plan]
    tasks = [new(names[0], context=context)]
    tasks += [linked(name, before, context=context) for before, name in itertools.pairwise(names)]
    return [replace(task, plan=plan, **fields) for task in tasks]


def group(plan, size):
    return [replace(new(f"{plan}/{n}"), plan=plan) for n in range(size)]


def is_new(answers):
    return [item.is_new for item in answers]


@pytest.mark.parametrize("length", [2, 3, 4, 7])
def test_s12_a_plan_of_another_shape_under_an_id_that_is_stored_makes_nothing(storage, length):
    first = storage.create_tasks(chain("p", 3))
    again = storage.create_tasks(chain("p", length, b'{"other": 1}'))
    assert is_new(first) == [True] * 3
    assert is_new(again) == [False] * length
    assert again[-1].task_id == first[-1].task_id
    assert set(statuses(storage)) == {"p/0", "p/1", "p"}
    assert {task.metadata.context for task in storage.query()} == {b"{}"}


@pytest.mark.parametrize("strange", [0, 1, 2, 3, 4])
def test_s12_a_plan_with_a_task_that_is_stored_is_refused_as_a_whole(storage, strange):
    storage.create_tasks([new(f"p/{strange}")])
    with pytest.raises(
        InvalidArgument, match=rf"id='p/{strange}': .*'p', with .* after="
    ) as refused:
        storage.create_tasks(chain("p", 6))
    assert "another id" in str(refused.value)
    assert set(statuses(storage)) == {f"p/{strange}"}
    assert resolve(storage).waiting is False


def test_s12_a_group_is_stored_when_all_its_members_are(storage):
    first = storage.create_tasks(group("g", 5))
    assert storage.create_tasks(group("g", 5)) == [
        Created(item.task_id, is_new=False) for item in first
    ]
    assert is_new(storage.create_tasks(group("g", 3))) == [False] * 3
    with pytest.raises(InvalidArgument, match=r"id='g/0'.*'g/5'"):
        storage.create_tasks(group("g", 6))
    assert len(storage.query()) == 5


def test_s12_a_plan_stays_the_same_when_its_first_tasks_are_gone(storage):
    first = storage.create_tasks(chain("p", 3))
    storage.delete(where.metadata_id == "p/0")
    again = storage.create_tasks(chain("p", 3))
    assert [item.task_id for item in again] == [0, first[1].task_id, first[2].task_id]
    storage.delete(where.metadata_id == "p")
    with pytest.raises(InvalidArgument, match="left of one"):
        storage.create_tasks(chain("p", 3))
    storage.delete(where.everything())
    assert is_new(storage.create_tasks(chain("p", 3))) == [True] * 3


def test_s12_a_stored_plan_is_found_when_what_it_came_after_is_gone(storage):
    storage.create_tasks([new("before")])
    head, *rest = chain("p", 3)
    plan = [replace(head, after=("before",)), *rest]
    assert all(is_new(storage.create_tasks(plan)))
    storage.delete(where.metadata_id.in_(["before", "p/0"]))
    assert not any(is_new(storage.create_tasks(plan)))
    storage.delete(where.everything())
    with pytest.raises(InvalidArgument, match="after='before'"):
        storage.create_tasks(plan)


def test_s12_children_of_which_pruning_has_left_a_part_are_completed(stage):
    (owner,) = stage.running("owner")
    made = stage.storage.create_children("r1", owner, chain("p", 3, child_of="owner"))
    assert all(is_new(made))
    longer = stage.storage.create_children("r1", owner, chain("p", 5, child_of="owner"))
    assert not any(is_new(longer))
    stage.storage.delete(where.metadata_id == "p")
    left = stage.storage.create_children("r1", owner, chain("p", 3, child_of="owner"))
    assert is_new(left) == [False, False, True]


def test_s12_a_plan_that_is_a_circle_is_refused(storage):
    circle = [replace(linked(name, "b" if name == "a" else "a"), plan="p") for name in "ab"]
    with pytest.raises(InvalidArgument, match="is a circle"):
        storage.create_tasks(circle)
    assert storage.query() == []


def test_s12_a_batch_is_one_plan_and_nothing_else(storage):
    for tasks in ([*chain("p", 2), new("x")], [*chain("p", 2), *chain("q", 2)]):
        with pytest.raises(InvalidArgument, match="one plan and nothing else"):
            storage.create_tasks(tasks)
    keyed = [replace(task, unique_key=b"k" * 32, unique_ms=5) for task in chain("p", 2)]
    with pytest.raises(InvalidArgument, match="cannot hold in a plan"):
        storage.create_tasks(keyed)
    assert storage.query() == []


def test_p10_producers_of_one_plan_at_the_same_moment_make_it_once(opener, clock):
    """Also where they do not agree about its shape: one of the two is made, as a whole."""
    one, other = opener(clock), opener(clock)

    def make(storage, n, length):
        return partial(storage.create_tasks, chain(f"p{n}", length))

    of_one = [make(one, n, 5) for n in range(MANY)]
    of_other = [make(other, n, 4 + n % 2) for n in range(MANY)]
    answers = zip(*race([of_one, of_other]), strict=True)
    shapes = {f"p{n}": 0 for n in range(MANY)}
    for task in one.query():
        shapes[task.metadata.id.split("/")[0]] += 1
    for n, (left, right) in enumerate(answers):
        assert is_new(left) in ([True] * len(left), [False] * len(left))
        assert left[0].is_new is not right[0].is_new, "one of them has made it"
        assert left[-1].task_id == right[-1].task_id
        assert shapes[f"p{n}"] == len(left if left[0].is_new else right)


def test_p10_a_plan_and_a_stranger_under_one_of_its_ids_at_the_same_moment(opener, clock):
    one, other = opener(clock), opener(clock)

    def plan(n):
        try:
            return one.create_tasks(chain(f"p{n}", 4))
        except InvalidArgument:
            return None

    plans, strangers = race(
        [
            [partial(plan, n) for n in range(MANY)],
            [partial(other.create_tasks, [new(f"p{n}/{n % 3}")]) for n in range(MANY)],
        ]
    )
    stored = set(statuses(one))
    for n, (made, stranger) in enumerate(zip(plans, strangers, strict=True)):
        names = {f"p{n}", *(f"p{n}/{k}" for k in range(3))}
        assert stranger[0].is_new is (made is None)
        assert stored & names == ({f"p{n}/{n % 3}"} if made is None else names)
