"""What only the in-process coordination promises."""

from __future__ import annotations

import math
import threading

from mqtasks.clock import ManualClock
from mqtasks.coordination.base import TaskBeat
from mqtasks.coordination.factory import coordination_from_url
from mqtasks.coordination.local import LocalHeartbeats, LocalNotifier
from tests.coordination.harness import Recorder


def test_no_url_means_local():
    with coordination_from_url(None, "site-1") as coordination:
        assert isinstance(coordination.notifier, LocalNotifier)
        assert isinstance(coordination.heartbeats, LocalHeartbeats)
        assert coordination.namespace == "site-1"
    assert not coordination.notifier.healthy()


def test_callbacks_run_on_the_publishers_thread_and_there_is_no_other():
    before = threading.active_count()
    notifier = LocalNotifier()
    got = Recorder()
    notifier.subscribe(["a"], got)
    notifier.publish("a")
    assert got.threads == {threading.get_ident()}
    assert threading.active_count() == before


def test_a_callback_that_publishes_does_not_recurse():
    notifier = LocalNotifier()
    order: list[bytes] = []

    def chain(_channel: str, payload: bytes) -> None:
        left = int(payload)
        if left:
            assert notifier.publish("a", b"%d" % (left - 1))
        order.append(payload)

    notifier.subscribe(["a"], chain)
    notifier.publish("a", b"5000")  # deeper than the recursion limit
    assert order == [b"%d" % n for n in range(5000, -1, -1)]


def test_a_callback_of_one_thread_does_not_hold_up_another():
    notifier = LocalNotifier()
    entered, leave, got = threading.Event(), threading.Event(), Recorder()

    def slow(_channel: str, _payload: bytes) -> None:
        entered.set()
        assert leave.wait(10)

    notifier.subscribe(["slow"], slow)
    notifier.subscribe(["a"], got)
    publisher = threading.Thread(target=notifier.publish, args=("slow",))
    publisher.start()
    assert entered.wait(10)
    assert notifier.publish("a")
    assert got.calls == [("a", b"")]
    leave.set()
    publisher.join(10)


def test_p3_continuity_is_infinite():
    assert LocalHeartbeats().continuity() == math.inf


def test_expired_tasks_do_not_pile_up():
    clock = ManualClock()
    heartbeats = LocalHeartbeats(clock)
    for n in range(100):
        heartbeats.beat_tasks([TaskBeat(n, "a", 1)], 15)
        clock.advance(10)
    assert len(heartbeats._tasks) <= 3
