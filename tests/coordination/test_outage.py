"""Redis away, silent, killed and restarted: hints are lost, nothing else is."""

from __future__ import annotations

import os
import signal
import time

import pytest

from mqtasks.coordination import listener
from mqtasks.coordination.base import TaskBeat
from mqtasks.coordination.factory import coordination_from_url
from mqtasks.errors import CoordinationUnavailable
from tests.coordination.harness import Recorder, awkward_server, beat, eventually, threads
from tests.support.servers import free_port


def everything_says_unavailable(coordination):
    notifier, heartbeats = coordination.notifier, coordination.heartbeats
    assert not notifier.publish("a")
    assert not notifier.publish_many([("a", b""), ("b", b"")])
    assert not heartbeats.beat_runners([beat()], 15)
    assert not heartbeats.beat_tasks([TaskBeat(1, "r1", 1)], 15)
    assert not heartbeats.forget_runner("r1")
    assert not heartbeats.forget_tasks([1])
    assert not heartbeats.publish_stats({"a": 1}, 10)
    assert heartbeats.alive_runners(["r1"]) is None
    assert heartbeats.alive_tasks([1]) is None
    assert heartbeats.continuity() == 0.0
    assert not notifier.healthy()
    for ask in (heartbeats.runner_details, heartbeats.stats):
        with pytest.raises(CoordinationUnavailable):
            ask()


def test_construction_and_hints_survive_a_server_that_was_never_there():
    with coordination_from_url(f"redis://127.0.0.1:{free_port()}") as coordination:
        everything_says_unavailable(coordination)
        assert coordination.notifier.failed == 3


def test_a_server_that_comes_late_is_found(own_redis, own_world):
    got, gap = Recorder(), Recorder()
    own_redis.kill()
    subscription = own_world.notifier.subscribe(["a"], got, gap)
    assert not subscription.active
    assert not own_world.notifier.publish("a")
    own_redis.restart()
    assert gap.wait()
    assert subscription.active
    assert eventually(own_world.notifier.healthy)
    assert own_world.notifier.publish("a")
    assert got.wait()
    assert gap.calls == [()]


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_restart_is_reported_as_a_gap(own_redis, own_world, caplog, protocol):
    caplog.set_level("INFO")
    got, gap, silent = Recorder(), Recorder(), Recorder()
    with coordination_from_url(f"{own_world.url}?protocol={protocol}") as coordination:
        notifier = coordination.notifier
        subscription = notifier.subscribe(["a"], got, gap)
        notifier.subscribe(["b"], silent)
        assert notifier.publish("a", b"1")
        assert got.wait()
        assert gap.calls == []
        own_redis.restart()
        assert gap.wait(2)  # once when they stop, once when they flow again
        assert subscription.active
        assert eventually(lambda: notifier.publish("a", b"2"))
        assert got.wait(2)
        assert notifier.healthy()
    assert "hints cannot be received" in caplog.text
    assert "hints are received again" in caplog.text


def test_p3_the_loss_of_redis_is_reported_while_it_is_away(own_redis, own_world):
    gap = Recorder()
    subscription = own_world.notifier.subscribe(["a"], Recorder(), gap)
    own_redis.kill()
    assert gap.wait()  # so that loops which relied on hints poll from now on
    assert not subscription.active
    assert not own_world.notifier.healthy()


def test_a_failing_on_gap_does_not_stop_the_others(own_redis, own_world, caplog):
    gap = Recorder()

    def fail() -> None:
        raise RuntimeError("a loop's own mistake")

    own_world.notifier.subscribe(["a"], Recorder(), fail)
    own_world.notifier.subscribe(["a"], Recorder(), gap)
    own_redis.restart()
    assert gap.wait()
    assert eventually(lambda: "a loop's own mistake" in caplog.text)


def test_each_outage_is_logged_once(own_redis, own_world, caplog):
    own_world.notifier.publish("a")
    own_redis.kill()
    for _ in range(50):
        own_world.notifier.publish("a")
        own_world.heartbeats.beat_tasks([TaskBeat(1, "r1", 1)], 15)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert own_world.notifier.failed == 50


def test_the_breaker_bounds_connection_attempts():
    with awkward_server(rude=True) as server, coordination_from_url(server.url) as coordination:
        notifier = coordination.notifier
        assert not notifier.publish("a")
        began = time.monotonic()
        count = 0
        while time.monotonic() - began < 1.5:
            assert not notifier.publish("a")
            count += 1
        attempts = server.connections
    assert count > 10_000  # far below the cost of one connection each
    assert 2 <= attempts <= 2 + 5 * 2  # a failed attempt may connect twice


def test_a_silent_server_costs_one_timeout():
    with awkward_server(rude=False) as server, coordination_from_url(server.url) as coordination:
        began = time.monotonic()
        assert not coordination.notifier.publish("a")
        assert time.monotonic() - began < 3
        began = time.monotonic()
        everything_says_unavailable(coordination)
        assert time.monotonic() - began < 0.5


def test_subscribing_does_not_wait_for_a_server_known_to_be_away():
    with coordination_from_url(f"redis://127.0.0.1:{free_port()}") as coordination:
        coordination.notifier.subscribe(["a"], Recorder())
        began = time.monotonic()
        for _ in range(100):
            coordination.notifier.subscribe(["b"], Recorder())
        assert time.monotonic() - began < 0.5


def test_a_server_that_stops_answering_is_noticed(own_redis, own_world, monkeypatch):
    monkeypatch.setattr(listener, "_READ_WAIT", 0.05)
    monkeypatch.setattr(listener, "_PING_AFTER", 0.1)
    monkeypatch.setattr(listener, "_PONG_WITHIN", 0.1)
    gap = Recorder()
    subscription = own_world.notifier.subscribe(["a"], Recorder(), gap)
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        assert eventually(lambda: not subscription.active)
    finally:
        assert gap.wait()
        os.kill(own_redis.pid, signal.SIGCONT)
    assert gap.wait(2)
    assert subscription.active


def test_close_joins_the_threads_in_every_state(own_redis, own_world):
    own_world.notifier.subscribe(["a"], Recorder())
    assert threads() == {"mqtasks-redis-listener"}
    own_world.close()
    assert threads() == set()

    own_redis.kill()
    away = own_world.join()
    away.notifier.subscribe(["a"], Recorder())
    away.notifier.publish("a")
    assert threads() == {"mqtasks-redis-listener", "mqtasks-redis-probe"}
    began = time.monotonic()
    away.close()
    away.close()
    assert threads() == set()
    assert time.monotonic() - began < 2


def test_what_notifier_and_heartbeats_share_is_freed_by_the_last(own_redis, own_world):
    own_redis.kill()
    own_world.notifier.publish("a")
    own_world.notifier.close()
    assert threads() == {"mqtasks-redis-probe"}
    own_world.heartbeats.close()
    assert threads() == set()


def test_a_refusing_server_is_not_away(own_world, caplog):
    with own_world.client() as client:
        client.config_set("maxmemory", 1)
        assert not own_world.heartbeats.beat_runners([beat()], 15)
        assert not own_world.heartbeats.beat_runners([beat()], 15)
        assert own_world.notifier.publish("a")
        assert own_world.notifier.healthy()
        client.config_set("maxmemory", 0)
    assert own_world.heartbeats.beat_runners([beat()], 15)
    assert len(caplog.records) == 1
    assert "refuses beat_runners" in caplog.text


def test_a_demoted_primary_is_looked_up_anew(own_world):
    with own_world.client() as client:
        assert own_world.heartbeats.beat_runners([beat()], 15)
        before = client.info("stats")["total_connections_received"]
        client.replicaof("127.0.0.1", free_port())
        assert not own_world.heartbeats.beat_runners([beat()], 15)
        assert not own_world.heartbeats.beat_runners([beat()], 15)
        assert client.info("stats")["total_connections_received"] > before
        client.replicaof("NO", "ONE")
    assert own_world.heartbeats.beat_runners([beat()], 15)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # that is what this is about
def test_a_fork_leaves_the_parents_subscription_alone(redis_world):
    got = Recorder()
    subscription = redis_world.notifier.subscribe(["a"], got)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert not subscription.active
            subscription.remove("a")
            mine = Recorder()
            assert redis_world.notifier.subscribe(["b"], mine).active
            assert redis_world.notifier.publish("b", b"child")
            assert mine.wait()
            redis_world.mine.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert redis_world.notifier.publish("a", b"parent")
    assert got.wait()
    assert subscription.active
