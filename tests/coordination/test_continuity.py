"""P3: keys may delay a rescue only while Redis has been watched without a gap."""

from __future__ import annotations

import os
import signal

import pytest

from mqtasks.clock import ManualClock
from mqtasks.coordination.trust import Continuity
from tests.coordination.harness import eventually


def test_p3_equal_sightings_make_one_watch():
    clock = ManualClock()
    watch = Continuity(clock)
    assert watch.seen("run", "sentinel", 0) == 0.0
    clock.advance(5)
    assert watch.seen("run", "sentinel", 0) == 5.0
    clock.advance(5)
    assert watch.seen("other run", "sentinel", 0) == 0.0
    clock.advance(1)
    watch.lost()
    clock.advance(1)
    assert watch.seen("other run", "sentinel", 0) == 0.0


def test_p3_the_watch_starts_with_the_first_call(own_world):
    assert own_world.heartbeats.continuity() == 0.0
    own_world.clock.advance(20)
    assert own_world.heartbeats.continuity() == 20.0
    assert own_world.join().heartbeats.continuity() == 0.0
    assert own_world.heartbeats.continuity() == 20.0


@pytest.mark.parametrize("flush", ["flushall", "flushdb", "delete", "overwrite"])
def test_p3_a_flush_restarts_the_watch_of_every_process(own_world, flush):
    peer = own_world.join()
    for heartbeats in (own_world.heartbeats, peer.heartbeats):
        heartbeats.continuity()
    own_world.clock.advance(20)
    with own_world.client() as client:
        match flush:
            case "delete":
                client.delete(own_world.keys.sentinel)
            case "overwrite":
                client.set(own_world.keys.sentinel, "another life")
            case _:
                getattr(client, flush)()
    for heartbeats in (own_world.heartbeats, peer.heartbeats):
        assert heartbeats.continuity() == 0.0
    own_world.clock.advance(1)
    assert own_world.heartbeats.continuity() == peer.heartbeats.continuity() == 1.0


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("noticed", [True, False])
def test_p3_a_restart_restarts_the_watch(own_redis, own_world, end, noticed):
    own_world.heartbeats.continuity()
    own_world.clock.advance(20)
    getattr(own_redis, end)()
    if noticed:
        assert own_world.heartbeats.continuity() == 0.0
    own_redis.restart()
    with own_world.client() as client:  # even if it kept its data
        client.set(own_world.keys.sentinel, "the same", px=60_000)
    own_world.clock.advance(20)
    assert own_world.heartbeats.continuity() == 0.0
    own_world.clock.advance(3)
    # Noticed or not, the watch of the new server began with the call above or with its return.
    assert eventually(lambda: own_world.heartbeats.continuity() <= 3.0)
    assert eventually(lambda: own_world.notifier.publish("a"))


def test_p3_a_restart_with_its_data_restarts_the_watch(own_redis, own_world):
    with own_world.client() as client:
        own_world.heartbeats.continuity()
        own_world.clock.advance(20)
        assert own_world.heartbeats.continuity() == 20.0
        kept = client.get(own_world.keys.sentinel)
        own_redis.restart()
        client.set(own_world.keys.sentinel, kept, px=60_000)
    assert own_world.heartbeats.continuity() == 0.0


def test_p3_a_failed_call_restarts_the_watch_although_the_server_kept_everything(
    own_redis, own_world
):
    heartbeats = own_world.heartbeats
    heartbeats.continuity()
    own_world.clock.advance(20)
    assert heartbeats.continuity() == 20.0
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        assert not heartbeats.forget_runner("r1")
        assert heartbeats.continuity() == 0.0
    finally:
        os.kill(own_redis.pid, signal.SIGCONT)
    assert eventually(own_world.notifier.healthy)
    own_world.clock.advance(20)
    assert heartbeats.continuity() == 0.0
    own_world.clock.advance(1)
    assert heartbeats.continuity() == 1.0


def test_p3_a_server_that_refuses_to_say_who_it_is_is_not_trusted(own_world, caplog):
    with own_world.client() as client:
        client.acl_setuser("default", enabled=True, nopass=True, commands=["+@all", "-info"])
    own_world.heartbeats.continuity()
    own_world.clock.advance(20)
    assert own_world.heartbeats.continuity() == 0.0
    assert own_world.heartbeats.alive_tasks([1]) == frozenset()
    assert len(caplog.records) == 1


def test_p3_the_sentinel_has_a_ttl_that_is_refreshed(redis_world):
    with redis_world.client() as client:
        redis_world.heartbeats.continuity()
        redis_world.age(299)
        assert 0 < client.pttl(redis_world.keys.sentinel) <= 1_000
        redis_world.clock.advance(299)
        assert redis_world.heartbeats.continuity() == 299.0
        assert client.pttl(redis_world.keys.sentinel) > 290_000
        redis_world.age(301)
        assert redis_world.heartbeats.continuity() == 0.0


def test_p3_a_key_that_never_expires_proves_nothing(redis_world):
    with redis_world.client() as client:
        client.hset(redis_world.keys.runner("r1"), "runner_id", "r1")
    assert redis_world.heartbeats.alive_runners(["r1"]) == frozenset()
