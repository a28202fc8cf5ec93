"""Due tasks become CREATED on time, without tight polling."""

from __future__ import annotations

import pytest

from mqtasks.model import TaskStatus
from mqtasks.scheduler.promoter import Promoter


@pytest.fixture
def promoted() -> list[int]:
    return []


@pytest.fixture
def promoter(world, promoted) -> Promoter:
    election = world.leader().parts.election
    return Promoter(world.spy, election.leadership, lambda: promoted.append(1), batch=10, poll=1.0)


def test_it_sleeps_until_the_next_task_is_due(world, clock, promoter, promoted):
    (task,) = world.create(delay_duration=0.25)
    assert promoter.run_once() == 0.25
    clock.advance(0.25)
    assert promoter.run_once() == 1.0
    assert world.status(task) is TaskStatus.CREATED
    assert promoted == [1]


def test_it_sleeps_no_longer_than_its_poll(world, promoter):
    assert promoter.run_once() == 1.0
    world.create(delay_duration=3600)
    assert promoter.run_once() == 1.0


def test_one_step_promotes_everything_that_is_due_in_batches(world, clock, promoter, promoted):
    world.create(35, delay_duration=1)
    (later,) = world.create(delay_duration=1.5)
    clock.advance(1)
    assert promoter.run_once() == 0.5
    assert world.storage.count_by_status(100)[TaskStatus.CREATED] == 35
    assert world.status(later) is TaskStatus.SCHEDULED
    assert len(promoted) == 4


def test_an_idle_step_costs_one_statement(world, promoter):
    world.create(delay_duration=60)
    world.spy.reset()
    promoter.run_once()
    assert world.spy.calls == {"next_due_in_ms": 1}


def test_what_somebody_else_promotes_meanwhile_is_no_reason_to_spin(world, clock, promoter):
    world.create(delay_duration=1)
    clock.advance(1)
    world.spy.before = lambda name: world.storage.promote_due(10) if name == "promote_due" else None
    assert promoter.run_once() == 0.01
    world.spy.before = lambda _name: None
    assert promoter.run_once() == 1.0


def test_a_standby_promotes_nothing(world, clock):
    world.leader("other")
    standby = world.scheduler("standby")
    (task,) = world.create(delay_duration=1)
    clock.advance(2)
    world.spy.reset()
    standby.parts.promoter.run_once()
    assert world.status(task) is TaskStatus.SCHEDULED
    assert not world.spy.calls


def test_leadership_lost_between_batches_ends_the_step(world, clock):
    leader = world.leader()
    world.create(30, delay_duration=1)
    clock.advance(1)
    election = leader.parts.election
    promoter = Promoter(world.spy, election.leadership, election.resign, batch=10)
    promoter.run_once()
    assert world.storage.count_by_status(100)[TaskStatus.CREATED] == 10
