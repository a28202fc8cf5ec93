"""What interrupts the watch over a database, after which nobody is judged for a while (P4, P13)."""

from __future__ import annotations

import pytest

from mqtasks.errors import StorageUnavailable
from mqtasks.scheduler.observation import Observation


@pytest.fixture
def watch(world) -> Observation:
    made = Observation(world.spy, world.clock, longest_gap=7.5)
    assert made.look(1) == 0.0
    return made


def test_it_grows_while_nothing_happens(watch, clock):
    for second in range(1, 30):
        clock.advance(1)
        assert watch.look(1) == second


def test_another_term_begins_another_watch(watch, clock):
    clock.advance(5)
    assert watch.look(2) == 0.0
    clock.advance(5)
    assert watch.look(2) == 5.0


def test_p4_another_server_begins_another_watch(watch, clock, world):
    clock.advance(5)
    world.storage._identity = "another"
    assert watch.look(1) == 0.0


def test_p4_an_error_begins_another_watch(watch, clock, world):
    def fail(name: str) -> None:
        if name == "now_ms":
            raise StorageUnavailable("away")

    clock.advance(5)
    world.spy.before = fail
    with pytest.raises(StorageUnavailable):
        watch.look(1)
    world.spy.before = lambda _name: None
    assert watch.look(1) == 0.0


@pytest.mark.parametrize("step", [-3600.0, -1.5, 1.5, 600.0])
def test_p4_p13_a_step_of_the_clock_begins_another_watch(watch, clock, step):
    clock.advance(5)
    clock.step_wall(step)
    assert watch.look(1) == 0.0


def test_a_small_step_does_not(watch, clock):
    clock.advance(5)
    clock.step_wall(0.5)
    assert watch.look(1) == 5.0


def test_having_been_suspended_begins_another_watch(watch, clock):
    clock.advance(8)
    assert watch.look(1) == 0.0


def test_p13_a_look_that_took_long_begins_another_watch(watch, clock, world):
    clock.advance(3)
    world.spy.before = lambda name: clock.advance(1.5) if name == "now_ms" else None
    assert watch.look(1) == 0.0


def test_p13_a_write_that_waited_for_the_lock_begins_another_watch(watch, clock):
    clock.advance(5)
    began = clock.monotonic()
    clock.advance(0.9)
    assert watch.call_ended(began)
    assert watch.look(1) > 5
    began = clock.monotonic()
    clock.advance(1.1)
    assert not watch.call_ended(began)
    assert watch.look(1) == 0.0
