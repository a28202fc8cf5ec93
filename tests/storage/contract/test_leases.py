"""Leases with a term (P6)."""

from __future__ import annotations

from mqtasks.model import Leadership, LeaseInfo

TTL = 5000


def test_p6_a_free_lease_is_taken_in_term_1(stage):
    assert stage.storage.lease("leader") is None
    assert stage.storage.acquire_lease("leader", "a", TTL) == Leadership("leader", "a", 1)
    assert stage.storage.lease("leader") == LeaseInfo("leader", "a", 1, TTL)
    stage.clock.advance(2)
    assert stage.storage.lease("leader") == LeaseInfo("leader", "a", 1, 3000)


def test_p6_a_held_lease_is_refused_until_it_lapses(stage):
    stage.storage.acquire_lease("leader", "a", TTL)
    assert stage.storage.acquire_lease("leader", "b", TTL) is None
    stage.clock.advance(4.999)
    assert stage.storage.acquire_lease("leader", "b", TTL) is None
    assert stage.storage.lease("leader").holder == "a"
    stage.clock.advance(0.001)
    assert stage.storage.acquire_lease("leader", "b", TTL) == Leadership("leader", "b", 2)


def test_p6_every_acquisition_starts_a_new_term(stage):
    terms = [stage.storage.acquire_lease("leader", "a", TTL).term for _ in range(3)]
    assert terms == [1, 2, 3]


def test_p6_leases_of_other_names_are_other_leases(stage):
    stage.storage.acquire_lease("leader", "a", TTL)
    assert stage.storage.acquire_lease("pruner", "b", TTL) == Leadership("pruner", "b", 1)


def test_p6_renewing_extends_and_keeps_the_term(stage):
    held = stage.storage.acquire_lease("leader", "a", TTL)
    stage.clock.advance(3)
    for _ in range(2):  # the second changes nothing, and is no loss either
        assert stage.storage.renew_lease(held, TTL) is True
    assert stage.storage.lease("leader") == LeaseInfo("leader", "a", 1, TTL)


def test_p6_a_lapsed_lease_that_nobody_took_is_renewed(stage):
    held = stage.storage.acquire_lease("leader", "a", TTL)
    stage.clock.advance(60)
    assert stage.storage.renew_lease(held, TTL) is True
    assert stage.storage.acquire_lease("leader", "b", TTL) is None


def test_p6_a_lease_of_another_holder_or_term_is_neither_renewed_nor_released(stage):
    old = stage.storage.acquire_lease("leader", "a", TTL)
    stage.clock.advance(60)
    current = stage.storage.acquire_lease("leader", "b", TTL)
    for claim in (
        old,
        Leadership("leader", "a", current.term),
        Leadership("leader", "b", old.term),
        Leadership("leader", "b", current.term + 1),
        Leadership("other", "b", current.term),
    ):
        assert stage.storage.renew_lease(claim, TTL) is False
        assert stage.storage.release_lease(claim) is False
    assert stage.storage.lease("leader") == LeaseInfo("leader", "b", 2, TTL)


def test_p6_a_released_lease_is_free_at_once_and_keeps_its_term(stage):
    held = stage.storage.acquire_lease("leader", "a", TTL)
    assert stage.storage.release_lease(held) is True
    info = stage.storage.lease("leader")
    assert info.term == 1
    assert info.remaining_ms <= 0
    assert stage.storage.acquire_lease("leader", "b", TTL) == Leadership("leader", "b", 2)
    assert stage.storage.release_lease(held) is False


def test_p10_releasing_may_be_repeated(stage):
    held = stage.storage.acquire_lease("leader", "a", TTL)
    assert [stage.storage.release_lease(held) for _ in range(2)] == [True, True]


def test_p6_a_renewal_that_was_on_its_way_does_not_bring_a_released_lease_back(stage):
    held = stage.storage.acquire_lease("leader", "a", TTL)
    stage.storage.release_lease(held)
    assert stage.storage.renew_lease(held, TTL) is False
    assert stage.storage.acquire_lease("leader", "b", TTL) is not None
