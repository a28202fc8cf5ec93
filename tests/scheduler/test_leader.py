"""Leader election over the memory store (P6): who may believe that it leads, and until when."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mqtasks.clock import ManualClock
from mqtasks.errors import StorageUnavailable
from mqtasks.model import Leadership
from mqtasks.scheduler.leader import LEASE_NAME, LeaderElection
from tests.scheduler.harness import World


def election(world: World, holder: str) -> LeaderElection:
    return LeaderElection(world.spy, holder, 5.0, 1.5, world.clock)  # type: ignore[arg-type]


def reign(of: LeaderElection) -> Leadership:
    """Return the leadership that is trusted now."""
    leadership = of.leadership()
    assert leadership is not None
    return leadership


def fail_on(world: World, name: str) -> None:
    def before(called: str) -> None:
        if called == name:
            raise StorageUnavailable("gone")

    world.spy.before = before


def test_a_free_lease_is_won_at_the_first_step(world):
    first = election(world, "a")
    assert first.leadership() is None
    assert first.run_once() == 1.5
    assert first.leadership() is not None
    assert reign(first).term == 1


def test_a_standby_does_not_lead_and_looks_again_soon(world):
    election(world, "a").run_once()
    second = election(world, "b")
    assert second.run_once() == 0.5
    assert second.leadership() is None
    assert world.spy.calls["acquire_lease"] == 1, "a standby only reads while somebody leads"


def test_a_standby_takes_over_within_the_ttl_of_a_dead_leader(world, clock):
    election(world, "a").run_once()
    second = election(world, "b")
    waited = 0.0
    while second.leadership() is None:
        delay = second.run_once()
        if second.leadership() is None:
            clock.advance(delay)
            waited += delay
    assert waited <= 5.5
    assert reign(second).term == 2


def test_trust_ends_before_the_lease_does(world, clock):
    first = election(world, "a")
    first.run_once()
    clock.advance(3.99)
    assert first.leadership() is not None
    clock.advance(0.02)
    assert first.leadership() is None
    assert world.storage.lease(LEASE_NAME).remaining_ms > 900


def test_trust_counts_from_before_the_renewal_was_sent(world, clock):
    first = election(world, "a")
    first.run_once()
    # The answer takes 3 s: the database may have extended the lease at the beginning of them.
    world.spy.before = lambda name: clock.advance(3.0) if name == "renew_lease" else None
    first.run_once()
    clock.advance(0.9)
    assert first.leadership() is not None
    clock.advance(0.2)
    assert first.leadership() is None


def test_renewing_in_time_keeps_the_term(world, clock):
    first = election(world, "a")
    first.run_once()
    for _ in range(20):
        clock.advance(1.5)
        first.run_once()
        assert reign(first).term == 1


def test_a_refused_renewal_ends_the_reign_at_once(world, clock):
    first, second = election(world, "a"), election(world, "b")
    first.run_once()
    first_leadership = reign(first)
    world.storage.release_lease(first_leadership)
    second.run_once()
    assert first.leadership() == first_leadership, "it cannot know yet; its writes are refused"
    first.run_once()
    assert first.leadership() is None
    assert reign(second).term == 2


def test_a_renewal_that_fails_leaves_the_deadline_as_it_was(world, clock):
    first = election(world, "a")
    first.run_once()
    clock.advance(1.5)
    fail_on(world, "renew_lease")
    with pytest.raises(StorageUnavailable):
        first.run_once()
    assert first.leadership() is not None
    clock.advance(2.6)
    assert first.leadership() is None


def test_a_reign_that_was_not_trusted_for_a_moment_gets_a_new_term(world, clock):
    first = election(world, "a")
    first.run_once()
    clock.advance(4.5)
    assert first.leadership() is None
    first.run_once()
    assert reign(first).term == 2


def test_doubt_ends_only_the_reign_it_speaks_of(world):
    first = election(world, "a")
    first.run_once()
    old = reign(first)
    first.doubt(old)
    assert first.leadership() is None
    first.doubt(old)
    first.run_once()
    new = reign(first)
    assert new.term == old.term + 1
    first.doubt(old)
    assert first.leadership() == new


def test_doubt_during_a_renewal_is_not_overwritten_by_it(world):
    first = election(world, "a")
    first.run_once()
    leading = reign(first)

    def doubt_meanwhile(name: str) -> None:
        if name == "renew_lease":
            first.doubt(leading)

    world.spy.before = doubt_meanwhile
    first.run_once()
    assert first.leadership() is None


def test_who_resigns_lets_a_standby_lead_at_its_next_step(world):
    first, second = election(world, "a"), election(world, "b")
    first.run_once()
    second.run_once()
    first.resign()
    assert first.leadership() is None
    second.run_once()
    assert second.leadership() is not None
    first.resign()  # says nothing about a reign that is not its own
    assert second.leadership() is not None
    assert world.storage.lease(LEASE_NAME).holder == "b"


def test_resigning_without_a_database_is_no_error(world):
    first = election(world, "a")
    first.run_once()
    fail_on(world, "release_lease")
    first.resign()
    assert first.leadership() is None


@pytest.mark.parametrize("seed", range(5))
def test_p6_never_do_two_trust_their_leadership_at_once(world, clock: ManualClock, seed: int):
    chance = random.Random(seed)
    parties: list[Any] = [election(world, f"s{i}") for i in range(3)]
    world.spy.before = lambda _name: clock.advance(chance.choice([0.0, 0.0, 0.1, 2.0]))
    led: set[str] = set()
    for _ in range(600):
        clock.advance(chance.random())
        chance.choice(parties).run_once()
        leading = [party for party in parties if party.leadership() is not None]
        assert len(leading) <= 1
        led.update(party.holder for party in leading)
        if chance.random() < 0.02:
            chance.choice(parties).resign()
    assert len(led) == 3
