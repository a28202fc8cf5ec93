"""A process dies between any two statements: no child starts twice, none is forgotten (S12).

Each scenario is run again and again, with the crash one statement later each time, until it gets
through. The connection is closed then, as the kernel would do it; the server rolls back.
"""

from __future__ import annotations

import contextlib

import pytest

from mqtasks.clock import ManualClock
from mqtasks.conditions import where
from mqtasks.model import FailurePolicy, TaskStatus
from tests.support.backends import MAKERS, SQL_BACKENDS
from tests.support.links import linked, resolve, statuses
from tests.support.stage import FAILURE, Stage, new

MOST = 200
CALLS = ("begin", "commit", "_write", "_read", "_execute", "run_each", "insert_tasks")


class Crash(BaseException):
    """The process is gone."""


class Fuse:
    """Counts what is sent to the database; dies at the chosen moment."""

    def __init__(self):
        self.left = None

    def burn(self):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Crash

    def around(self, method):
        """Return a method that may die before its work; one that commits, behind it too."""

        def call(*arguments, **options):
            self.burn()
            answer = method(*arguments, **options)
            if method.__name__ == "commit":
                self.burn()
            return answer

        return call

    def dies(self, moment, operation):
        """Run an operation that dies at this moment; return whether it did."""
        self.left = moment
        try:
            operation()
        except Crash:
            return True
        else:
            return False
        finally:
            self.left = None


@pytest.fixture(params=SQL_BACKENDS)
def opened(request):
    backend = MAKERS[request.param](request)
    clock = ManualClock()
    with contextlib.closing(backend.open(clock)) as storage:
        yield Stage(storage, clock)


@pytest.fixture
def stage(opened):
    opened.register()
    return opened


@pytest.fixture
def fuse(stage, monkeypatch):
    fuse = Fuse()
    session = type(stage.storage.database.read(lambda session: session))
    writer = type(stage.storage.database.transact(lambda session: session))
    for kind in {*session.__mro__, *writer.__mro__}:
        for name in CALLS:
            method = kind.__dict__.get(name)
            if method is not None and not getattr(method, "__isabstractmethod__", False):
                monkeypatch.setattr(kind, name, fuse.around(method))
    return fuse


def each_moment(fuse, prepare, operation, judge):
    """Let the operation die at every moment, each time in a fresh scene; judge what is left."""
    for moment in range(MOST):
        scene = prepare(moment)
        died = fuse.dies(moment, lambda scene=scene: operation(scene))
        judge(scene, died=died)
        if not died:
            assert moment >= 6, "there was hardly anything to die at"
            return
    raise AssertionError("it never gets through")


class Family:
    """Parents that end in every way, and children of every policy, told apart by a number."""

    def __init__(self, stage, number):
        self.stage = stage
        self.number = number
        names = [self.name(name) for name in ("good", "better", "bad", "gone")]
        self.parents = dict(zip(names, stage.running(*names), strict=True))
        good, better, bad, gone = names
        self.children = [
            linked(self.name("one"), good),
            linked(self.name("two"), good, better),
            linked(self.name("later"), better, delay_duration=60),
            linked(self.name("cancel"), good, bad),
            linked(self.name("fail"), bad, on_failure=FailurePolicy.FAIL),
            linked(self.name("anyway"), bad, gone, on_failure=FailurePolicy.RUN),
            linked(self.name("orphan"), gone),
            linked(self.name("grandchild"), self.name("cancel")),
        ]

    def name(self, word):
        return f"{word} {self.number}"

    def end_parents(self):
        good, better, bad, gone = self.parents.values()
        self.stage.complete([good, better])
        self.stage.complete([bad], FAILURE)
        self.stage.storage.delete(where.task_id == gone.task_id)

    def create(self):
        return self.stage.storage.create_tasks(self.children)

    def found(self):
        wanted = {task.metadata.id for task in self.children}
        return {name: it for name, it in statuses(self.stage.storage).items() if name in wanted}

    def settled(self):
        """What every crash must come to in the end."""
        ends = {
            "one": "CREATED",
            "two": "CREATED",
            "later": "SCHEDULED",
            "cancel": "CANCELED",
            "fail": "COMPLETED",
            "anyway": "CREATED",
            "orphan": "CANCELED",
            "grandchild": "CANCELED",
        }
        return {self.name(word): end for word, end in ends.items()}

    def demand_settled(self):
        storage = self.stage.storage
        resolve(storage)
        resolve(storage)
        assert self.found() == self.settled()
        for task in storage.find(self.found()).values():
            # What was canceled has one cause; nothing else has a history, and none was begun.
            assert len(storage.attempts(task.id)) == (task.status is TaskStatus.CANCELED)
            assert task.epoch == 0
        assert not resolve(storage).waiting


def test_s12_a_resolver_may_die_at_any_moment(stage, fuse):
    def prepare(number):
        family = Family(stage, number)
        family.create()
        family.end_parents()
        return family

    def judge(family, *, died):
        waiting = [end for end in family.found().values() if end == "WAITING"]
        assert len(waiting) in {0, 1, 8}, "all of a step, or nothing"
        family.demand_settled()

    each_moment(fuse, prepare, lambda family: resolve(stage.storage), judge)


def test_s12_a_producer_may_die_at_any_moment(stage, fuse):
    def judge(family, *, died):
        assert len(family.found()) in ({0, 8} if died else {8}), "all of them, or none"
        made = family.create()  # it starts again and says the same
        assert len({item.task_id for item in made}) == 8
        assert set(family.found().values()) == {"WAITING"}
        family.end_parents()
        family.demand_settled()

    each_moment(fuse, lambda n: Family(stage, n), lambda family: family.create(), judge)


def test_s12_a_producer_may_die_while_it_judges_parents_that_have_ended(stage, fuse):
    def prepare(number):
        family = Family(stage, number)
        good, better, bad, gone = family.parents.values()
        stage.complete([good, better, gone])
        stage.complete([bad], FAILURE)
        return family

    def judge(family, *, died):
        assert len(family.found()) in ({0, 8} if died else {8})
        family.create()
        resolve(stage.storage)
        expected = family.settled() | {family.name("orphan"): "CREATED"}
        assert family.found() == expected
        assert not resolve(stage.storage).waiting

    each_moment(fuse, prepare, lambda family: family.create(), judge)


def test_s12_whoever_cancels_may_die_at_any_moment(stage, fuse):
    def prepare(number):
        (parent,) = stage.running(f"parent {number}")
        child, _ = stage.storage.create_tasks(
            [
                linked(f"child {number}", f"parent {number}"),
                linked(f"grandchild {number}", f"child {number}"),
            ]
        )
        return number, parent, child.task_id

    def judge(scene, *, died):
        number, parent, child = scene
        canceled = stage.status(child) is TaskStatus.CANCELED
        assert canceled or died
        resolve(stage.storage)
        stage.complete([parent])
        resolve(stage.storage)
        found = statuses(stage.storage)
        ends = ("CANCELED", "CANCELED") if canceled else ("CREATED", "WAITING")
        assert (found[f"child {number}"], found[f"grandchild {number}"]) == ends
        stage.storage.delete(where.everything())

    each_moment(fuse, prepare, lambda scene: stage.storage.cancel_many([scene[2]]), judge)


def test_s12_whoever_prunes_may_die_at_any_moment(stage, fuse):
    def prepare(number):
        (parent,) = stage.running(f"parent {number}")
        stage.complete([parent])
        done, _ = stage.storage.create_tasks(
            [
                linked(f"done {number}", f"parent {number}"),
                linked(f"kept {number}", f"done {number}"),
            ]
        )
        stage.complete(stage.allocate([done.task_id]))
        stage.storage.create_tasks([new(f"other {number}")])
        return number, parent.task_id, done.task_id

    def judge(scene, *, died):
        number, parent, done = scene
        found = statuses(stage.storage)
        assert found[f"done {number}"] == "COMPLETED", "its child waits for it"
        assert (f"parent {number}" in found) <= died
        assert [item.parent_id for item in stage.storage.dependencies(done)] == [parent]
        resolve(stage.storage)
        assert statuses(stage.storage)[f"kept {number}"] == "CREATED"
        stage.storage.delete(where.everything())

    each_moment(fuse, prepare, lambda scene: stage.storage.prune(0, 100, 0, 0), judge)


def test_a_row_deleted_behind_our_back_does_not_stop_a_pass(stage):
    """As an operator's SQL, or the pruner of the release before this one, would do it."""
    (parent,) = stage.running("parent")
    made = stage.storage.create_tasks([linked(f"c{n}", "parent") for n in range(5)])
    stage.complete([parent])
    gone = [item.task_id for item in made[:3]]
    stage.storage.database.transact(lambda session: session.run_in("delete_tasks", gone))
    assert resolve(stage.storage, limit=1).released == (made[3].task_id, made[4].task_id)
    assert not resolve(stage.storage).waiting
