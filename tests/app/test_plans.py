"""Plans: which rows a chain or a group becomes, before any of them runs (S12)."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from mqtasks import InvalidArgument, MQTasks, PayloadError, TaskHandle
from mqtasks.app import chain, group
from mqtasks.app import plan as plans
from mqtasks.model import FailurePolicy, TaskStatus


@pytest.fixture
def app():
    with MQTasks("memory://") as made:
        yield made


@pytest.fixture
def work(app: MQTasks):
    @app.task
    def work(n: int) -> int:
        return n

    return work


def rows(plan, plan_id="p"):
    return {task.metadata.id: task.after for task in plan.draft(plan_id).tasks}


def test_s12_a_chain_is_a_row_for_each_part_after_the_one_before(work) -> None:
    plan = chain(work.s(1), work.s(2), work.s(3))
    assert rows(plan) == {"p/0": (), "p/1": ("p/0",), "p": ("p/1",)}
    assert rows(work.s(1).then(work.s(2)).then(work.s(3))) == rows(plan)
    assert rows(chain(work.s(1), chain(work.s(2), work.s(3)))) == rows(plan)


def test_s12_what_follows_a_group_comes_after_all_its_ends(work) -> None:
    plan = group([work.s(1), chain(work.s(2), work.s(3))]).then(work.s(4))
    assert rows(plan) == {
        "p/0": (),
        "p/1": (),
        "p/2": ("p/1",),
        "p": ("p/0", "p/2"),
    }


def test_s12_groups_stand_anywhere_in_chains_and_in_each_other(work) -> None:
    plan = chain(work.s(0), group([work.s(1), group([work.s(2), work.s(3)])]), group([work.s(4)]))
    assert rows(plan) == {
        "p/0": (),
        "p/1": ("p/0",),
        "p/2": ("p/0",),
        "p/3": ("p/0",),
        "p/4": ("p/1", "p/2", "p/3"),
    }


def test_s12_an_empty_group_is_as_if_it_were_not_there(work) -> None:
    assert rows(chain(work.s(1), group([]), work.s(2))) == {"p/0": (), "p": ("p/0",)}
    assert rows(group([]).then(work.s(1))) == {"p": ()}
    assert group([]).enqueue() == []


def test_s12_options_of_a_call_hold_in_a_plan(work) -> None:
    named = work.options(id="mine", on_failure="run", after=["other"], priority=4, tags=("t",))
    first, last = chain(work.s(1), named.s(2)).draft("p").tasks
    assert (first.on_failure, first.after) == (FailurePolicy.CANCEL, ())
    assert (last.metadata.id, last.after) == ("mine", ("p/0", "other"))
    assert last.on_failure is FailurePolicy.RUN
    assert (last.metadata.options.priority, last.metadata.options.tags) == (4, ("t",))


def test_s12_members_are_grouped_by_the_plan_or_by_who_makes_it(work) -> None:
    plan = chain(work.s(1), work.options(parent="mine").s(2), work.s(3))
    assert [task.parent_task_id for task in plan.draft("p").tasks] == ["p", "mine", ""]
    made = plan.draft("p", parent="maker").tasks
    assert [task.parent_task_id for task in made] == ["maker", "mine", "maker"]
    assert {task.child_of for task in made} == {"maker"}


def test_s12_handles_have_the_shape_of_the_plan(work) -> None:
    last = chain(work.s(1), work.s(2)).enqueue(id="a")
    assert isinstance(last, TaskHandle)
    assert (last.id, last.status()) == ("a", TaskStatus.WAITING)
    both = group([work.s(1), group([work.s(2), work.s(3)])]).enqueue(id="b")
    assert [both[0].id, [handle.id for handle in both[1]]] == ["b/0", ["b/1", "b/2"]]
    assert work.s(1).enqueue(id="c").id == "c"
    assert work.options(id="d").s(1).enqueue().id == "d"


def test_s12_a_plan_under_one_id_is_created_once(app, work) -> None:
    plan = group([work.s(1), work.s(2)]).then(work.s(3))
    first, again = plan.enqueue(id="p"), plan.enqueue(id="p")
    assert (first.is_new, again.is_new) == (True, False)
    assert first.task_id == again.task_id
    assert len(app.service.query_task()) == 3
    assert plan.enqueue().task_id != plan.enqueue().task_id, "without an id they are two"


def test_s12_a_plan_that_was_changed_makes_nothing_under_an_id_that_is_stored(app, work) -> None:
    chain(work.s(1), work.s(2)).enqueue(id="p")
    again = chain(work.s(91), work.s(92), work.s(93), work.s(2)).enqueue(id="p")
    assert (again.is_new, again.status()) == (False, TaskStatus.WAITING)
    assert {task.metadata.id for task in app.service.query_task()} == {"p/0", "p"}


def test_s12_no_strange_task_stands_in_for_one_of_a_plan(app, work) -> None:
    work.options(id="p/0").enqueue(5)
    for plan in (chain(work.s(6), work.s(7)), group([work.s(6), work.s(7)])):
        with pytest.raises(InvalidArgument, match=r"id='p/0': is stored already.*another id"):
            plan.enqueue(id="p")
    shared = chain(work.options(id="p/0").s(5), work.s(7))
    with pytest.raises(InvalidArgument, match="is stored already"):
        shared.enqueue()
    assert [task.metadata.id for task in app.service.query_task()] == ["p/0"]
    assert work.s(7).enqueue(id="q", after=["p/0"]).is_new


def test_s12_a_plan_is_created_from_an_event_loop(work) -> None:
    handle = asyncio.run(chain(work.s(1), work.s(2)).aenqueue(id="p"))
    assert handle.id == "p"
    with pytest.raises(InvalidArgument, match="stays in its own thread"):
        asyncio.run(work.options(connection=object()).s(1).aenqueue())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda work: chain(work.s(1), work), r"must be a plan: task\.s"),
        (lambda _work: group(cast("Any", [1])), r"must be a plan: task\.s"),
        (lambda work: plans.Chain(()), "at least one plan"),
        (
            lambda work: group([work.options(id="x").s(1), work.options(id="x").s(2)]).draft("p"),
            "names two tasks of the plan",
        ),
        (lambda work: work.s(1).draft(""), "must not be empty"),
        (lambda work: work.options(after="x"), "must be a list"),
        (lambda work: work.options(after=[7]), "a handle or a metadata id"),
        (lambda work: work.options(on_failure="ignore"), "'cancel', 'run', 'fail'"),
        (lambda work: work.options(after=["nobody"]).enqueue(1), "after"),
    ],
)
def test_s12_what_is_no_plan_is_refused(app, work, make, message) -> None:
    with pytest.raises(InvalidArgument, match=message):
        make(work)
    assert app.service.query_task() == []


def test_s12_arguments_are_checked_when_they_are_written_down(work) -> None:
    with pytest.raises(PayloadError, match="has no argument 'm'"):
        work.s(m=1)


def test_s12_a_group_after_a_group_has_a_limit_that_is_named(work, monkeypatch) -> None:
    monkeypatch.setattr(plans, "MAX_EDGES", 6)
    wide = group([work.s(n) for n in range(3)])
    assert len(rows(chain(wide, work.s(1), group([work.s(n) for n in range(3)])))) == 7
    with pytest.raises(InvalidArgument, match="put a single task between"):
        rows(chain(wide, group([work.s(n) for n in range(3)])))


def test_s12_members_of_two_applications_or_connections_are_refused(work) -> None:
    with MQTasks("memory://") as other:

        @other.task
        def far(n: int) -> int:
            return n

        with pytest.raises(InvalidArgument, match="several applications"):
            chain(work.s(1), far.s(2)).enqueue()
    one = work.options(connection=object()).s(1)
    with pytest.raises(InvalidArgument, match="not the one that another member names"):
        one.enqueue(connection=object())


def test_s12_many_enqueued_at_once_wait_for_one(app, work) -> None:
    parent = work.enqueue(0)
    children = work.options(after=[parent], on_failure="fail").enqueue_many([(1,), (2,)])
    assert {child.status() for child in children} == {TaskStatus.WAITING}
    by_name = app.remote("elsewhere").options(after=[parent.id]).enqueue(7)
    assert by_name.status() is TaskStatus.WAITING
    assert by_name.cancel()
    assert by_name.status() is TaskStatus.CANCELED


def test_s12_ten_thousand_members_are_one_batch(app, work) -> None:
    told: list[int] = []
    create = app.service.storage.create_tasks

    def spy(tasks):
        told.append(len(tasks))
        return create(tasks)

    app.service.storage.create_tasks = spy
    last = group([work.s(n) for n in range(10_000)]).then(work.s(0)).enqueue(id="p")
    assert told == [10_001]
    assert last.status() is TaskStatus.WAITING
