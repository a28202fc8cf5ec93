"""Tasks that wait at a busy runner move to one that stands idle (P6)."""

from __future__ import annotations

import pytest

from mqtasks.service.hints import decode_revoked


@pytest.fixture
def asked(world) -> dict[str, list[int]]:
    """What each runner is asked to give back; hand it to `answer` to do so."""
    requests: dict[str, list[int]] = {}

    def heard(channel: str, payload: bytes) -> None:
        hint = decode_revoked(payload)
        assert hint is not None
        requests.setdefault(channel.rpartition(":")[2], []).append(hint.give_back)

    keys = world.service.keys
    channels = [keys.revoked(runner_id) for runner_id in ("r1", "r2", "r3")]
    world.service.notifier.subscribe(channels, heard)
    return requests


def passes(world, leader, seconds: float) -> None:
    """Let the allocator run on its own delays, as its loop would without hints."""
    waited = 0.0
    while waited < seconds:
        delay = min(leader.parts.allocate(), seconds - waited)
        world.clock.advance(delay)
        waited += delay
        leader.parts.election.run_once()


def give_back(world, runner_id: str, count: int) -> None:
    newest = world.live(runner_id)[-count:]
    world.storage.release_many(runner_id, newest, "another runner has free slots")


def test_p6_a_second_runner_joins_and_both_are_busy_within_a_second(world, asked):
    leader = world.leader()
    world.runner("r1", parallelism=10, max_wait_tasks=256)
    world.create(1_000)
    passes(world, leader, 1.0)
    assert len(world.live("r1")) == 20
    world.runner("r2", parallelism=10, max_wait_tasks=256)
    passes(world, leader, 1.0)
    assert len(world.live("r2")) >= 10


def test_p6_what_waits_is_asked_back_when_nothing_else_is_left(world, asked):
    leader = world.leader()
    world.runner("r1", parallelism=10, max_wait_tasks=256)
    world.create(20)
    passes(world, leader, 1.0)
    assert len(world.live("r1")) == 20
    world.runner("r2", parallelism=6, max_wait_tasks=256)
    passes(world, leader, 0.9)
    assert asked == {"r1": [6]}
    give_back(world, "r1", 6)
    passes(world, leader, 0.1)
    assert len(world.live("r1")) == 14
    assert len(world.live("r2")) == 6
    passes(world, leader, 3.0)
    assert asked == {"r1": [6]}, "no slot is free any more"


def test_waiting_tasks_that_fit_nowhere_else_stay(world, asked):
    leader = world.leader()
    world.runner("r1", "work", parallelism=4, max_wait_tasks=256)
    world.runner("r2", "mail", parallelism=4, max_wait_tasks=256)
    world.create(8)
    passes(world, leader, 3.0)
    assert len(world.live("r1")) == 8
    assert asked == {}


def test_only_what_certainly_fits_elsewhere_is_asked_back(world, asked):
    leader = world.leader()
    world.runner("r1", "work", "mail", parallelism=4, max_wait_tasks=4)
    world.create(5, executor="work")
    world.create(3, executor="mail")
    leader.parts.allocate()
    world.runner("r2", "mail", parallelism=4)
    passes(world, leader, 1.0)
    assert len(world.live("r1")) == 8
    # Four wait. Five of its eight fit nowhere else, so perhaps all four are of those.
    assert asked == {}


def test_a_runner_that_gives_nothing_back_is_asked_less_and_less(world, asked):
    leader = world.leader(leader_ttl=600.0)
    world.runner("r1", parallelism=4, max_wait_tasks=256)
    world.create(8)
    passes(world, leader, 0.1)
    world.runner("r2", parallelism=4)
    for _ in range(12):
        passes(world, leader, 5.0)
        world.renew("r1", "r2")
    assert 5 <= len(asked["r1"]) <= 9, "after 0.2, 1.2, 3.2, 7.2, 15.2, 31.2 seconds or so"


def test_an_imbalance_that_ends_by_itself_is_left_alone(world, asked):
    leader = world.leader()
    world.runner("r1", parallelism=4, max_wait_tasks=256)
    world.create(8)
    leader.parts.allocate()
    world.runner("r2", parallelism=4)
    world.clock.advance(0.6)
    assert leader.parts.allocate() == 0.2, "the imbalance is seen, and looked at again"
    world.finish("r1", 4)
    world.clock.advance(0.2)
    leader.parts.allocate()
    assert asked == {}


def test_two_busy_runners_share_the_free_slots_of_a_third(world, asked):
    leader = world.leader()
    world.runner("r1", parallelism=4, max_wait_tasks=4)
    world.runner("r2", parallelism=4, max_wait_tasks=4)
    world.create(16)
    passes(world, leader, 0.1)
    world.runner("r3", parallelism=6)
    passes(world, leader, 0.9)
    assert asked == {"r1": [4], "r2": [2]}
