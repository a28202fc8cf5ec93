"""What every notifier promises."""

from __future__ import annotations

import threading

from tests.coordination.harness import DEADLINE, Recorder


def test_a_hint_reaches_every_subscriber_of_its_channel(world):
    first, second, other = Recorder(), Recorder(), Recorder()
    peer = world.join()
    world.notifier.subscribe(["a", "b"], first)
    peer.notifier.subscribe(["a"], second)
    peer.notifier.subscribe(["c"], other)

    assert world.notifier.publish("a", b"\x00payload\xff")
    assert first.wait()
    assert second.wait()
    assert first.calls == second.calls == [("a", b"\x00payload\xff")]
    assert world.notifier.publish("c")
    assert other.wait()
    assert other.calls == [("c", b"")]


def test_a_subscription_is_active_when_subscribe_returns(world):
    subscription = world.notifier.subscribe(["a"], Recorder())
    assert subscription.active
    assert subscription.channels == {"a"}
    assert world.notifier.healthy()


def test_many_hints_arrive_in_order(world):
    got = Recorder()
    world.notifier.subscribe(["a", "b"], got)
    messages = [("ab"[n % 2], b"%d" % n) for n in range(500)]
    assert world.join().notifier.publish_many(messages)
    assert got.wait(500)
    assert got.calls == messages


def test_no_hints_are_sent_without_a_round_trip(world):
    assert world.notifier.publish_many([])
    assert world.notifier.sent == 0


def test_channels_can_be_added_and_removed(world):
    got, rest = Recorder(), Recorder()
    subscription = world.notifier.subscribe(["a"], got)
    world.notifier.subscribe(["end"], rest)
    subscription.add("b", "b", "a")
    assert subscription.channels == {"a", "b"}
    assert subscription.active
    world.notifier.publish("b")
    assert got.wait()
    subscription.remove("a", "unknown")
    world.notifier.publish_many([("a", b""), ("b", b"2"), ("end", b"")])
    assert rest.wait()
    assert got.calls == [("b", b""), ("b", b"2")]


def test_a_channel_can_be_left_and_joined_many_times(world):
    got = Recorder()
    for round_number in range(20):
        with world.notifier.subscribe(["a"], got) as subscription:
            assert subscription.active
            world.notifier.publish("a", b"%d" % round_number)
            assert got.wait(round_number + 1)
    assert [payload for _, payload in got.calls] == [b"%d" % n for n in range(20)]


def test_a_closed_subscription_receives_nothing(world):
    got, rest = Recorder(), Recorder()
    world.notifier.subscribe(["end"], rest)
    subscription = world.notifier.subscribe(["a"], got)
    subscription.close()
    subscription.close()
    subscription.add("a")
    assert subscription.channels == frozenset()
    assert not subscription.active
    world.notifier.publish_many([("a", b""), ("end", b"")])
    assert rest.wait()
    assert got.calls == []


def test_one_subscriber_leaving_does_not_disturb_the_other(world):
    left, stays = Recorder(), Recorder()
    subscription = world.notifier.subscribe(["a"], left)
    world.notifier.subscribe(["a"], stays)
    subscription.close()
    world.notifier.publish("a")
    assert stays.wait()
    assert left.calls == []


def test_a_subscription_may_close_itself_in_its_callback(world):
    got, rest = Recorder(), Recorder()

    def once(channel: str, payload: bytes) -> None:
        got(channel, payload)
        subscription.close()

    subscription = world.notifier.subscribe(["a"], once)
    world.notifier.subscribe(["end"], rest)
    world.notifier.publish_many([("a", b"1"), ("a", b"2"), ("end", b"")])
    assert rest.wait()
    assert got.calls == [("a", b"1")]


def test_a_callback_may_subscribe_and_publish(world):
    got, gap = Recorder(), Recorder()

    def follow(_channel: str, _payload: bytes) -> None:
        world.notifier.subscribe(["b"], got, gap)
        world.notifier.publish("b", b"from a callback")

    world.notifier.subscribe(["a"], follow)
    world.notifier.publish("a")
    # Over Redis the subscription cannot be confirmed while the callback runs: then there is a gap.
    if not got.wait(timeout=0.5):
        assert gap.wait()
        world.notifier.publish("b", b"again")
        assert got.wait()


def test_a_failing_callback_is_logged_and_reaches_nobody_else(world, caplog):
    got = Recorder()

    def fail(_channel: str, _payload: bytes) -> None:
        raise RuntimeError("a subscriber's own mistake")

    world.notifier.subscribe(["a"], fail)
    world.notifier.subscribe(["a"], got)
    assert world.notifier.publish("a")
    assert got.wait()
    assert world.notifier.publish("a")
    assert got.wait(2)
    assert "a subscriber's own mistake" in caplog.text
    assert {record.name for record in caplog.records} >= {"mqtasks.coordination"}


def test_counters(world):
    got = Recorder()
    world.notifier.subscribe(["a"], got)
    world.notifier.publish("a")
    world.notifier.publish_many([("a", b""), ("nobody", b"")])
    assert got.wait(2)
    assert (world.notifier.sent, world.notifier.failed) == (3, 0)
    assert world.notifier.received == 2


def test_close_ends_everything_and_may_be_repeated(world):
    got = Recorder()
    subscription = world.notifier.subscribe(["a"], got)
    world.mine.close()
    world.mine.close()
    assert not world.notifier.publish("a")
    assert not world.notifier.publish_many([("a", b""), ("b", b"")])
    assert world.notifier.failed == 3
    assert not world.notifier.healthy()
    assert not subscription.active
    late = world.notifier.subscribe(["a"], got)
    assert late.channels == frozenset()
    assert got.calls == []


def test_a_callback_may_close_the_notifier(world):
    closed = threading.Event()

    def close(_channel: str, _payload: bytes) -> None:
        world.notifier.close()
        closed.set()

    world.notifier.subscribe(["a"], close)
    world.notifier.publish("a")
    assert closed.wait(DEADLINE)
    assert not world.notifier.healthy()


def test_many_threads_may_use_one_notifier(world):
    got = Recorder()
    failures: list[BaseException] = []
    world.notifier.subscribe(["all"], got)

    def work(number: int) -> None:
        try:
            own = Recorder()
            for turn in range(20):
                with world.notifier.subscribe([f"own-{number}"], own) as subscription:
                    assert subscription.active
                    assert world.notifier.publish(f"own-{number}", b"%d" % turn)
                    assert own.wait(turn + 1)
                    assert world.notifier.publish("all")
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(4 * DEADLINE)
    assert failures == []
    assert got.wait(120)
    assert world.notifier.sent == 240
    assert world.notifier.received == 240
