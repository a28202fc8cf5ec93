"""Coordination inside one process: no server, no threads, nothing to configure."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from mqtasks.clock import Clock, SystemClock
from mqtasks.coordination.base import (
    Coordination,
    Heartbeats,
    Notifier,
    RunnerBeat,
    Subscription,
    TaskBeat,
)
from mqtasks.coordination.counter import Counter
from mqtasks.coordination.keys import DEFAULT_NAMESPACE, Keys
from mqtasks.coordination.subscriptions import SubscriptionTable, TableSubscription
from mqtasks.errors import CoordinationUnavailable


class LocalNotifier(Notifier):
    """Delivers hints on the publisher's thread.

    No lock is held while a callback runs. A callback that publishes does not recurse: its hints
    are delivered by the same thread after the current one.
    """

    def __init__(self) -> None:
        self._table = SubscriptionTable(_Immediate())
        self._dispatching = threading.local()
        self._closed = False
        self._sent = Counter()
        self._failed = Counter()
        self._received = Counter()

    def publish(self, channel: str, payload: bytes = b"") -> bool:
        """Deliver one hint; False after `close`."""
        return self.publish_many(((channel, payload),))

    def publish_many(self, messages: Sequence[tuple[str, bytes]]) -> bool:
        """Deliver many hints in order; False after `close`."""
        if self._closed:
            self._failed.add(len(messages))
            return False
        self._sent.add(len(messages))
        queue: deque[tuple[str, bytes]] | None = getattr(self._dispatching, "queue", None)
        if queue is not None:
            queue.extend(messages)
            return True
        queue = self._dispatching.queue = deque(messages)
        try:
            while queue:
                if self._table.dispatch(*queue.popleft()):
                    self._received.add()
        finally:
            self._dispatching.queue = None
        return True

    def subscribe(
        self,
        channels: Sequence[str],
        callback: Callable[[str, bytes], None],
        on_gap: Callable[[], None] | None = None,
    ) -> Subscription:
        """Subscribe; active at once, and there is never a gap."""
        subscription = self._table.open(channels, callback, on_gap)
        if self._closed:
            subscription.close()
        return subscription

    def healthy(self) -> bool:
        """Return True until `close`."""
        return not self._closed

    @property
    def sent(self) -> int:
        """Hints published."""
        return self._sent.value

    @property
    def failed(self) -> int:
        """Hints published after `close`."""
        return self._failed.value

    @property
    def received(self) -> int:
        """Hints that had a subscriber."""
        return self._received.value

    def close(self) -> None:
        """End all subscriptions."""
        self._closed = True
        self._table.clear()


class _Immediate:
    """The wire of a notifier that has none."""

    def changed(self, subscription: TableSubscription, added: frozenset[str]) -> None:
        """Do nothing: entering the table is all it takes."""

    def carries(self, channels: frozenset[str]) -> bool:  # noqa: ARG002 - the protocol's name
        """Return True."""
        return True


class LocalHeartbeats(Heartbeats):
    """Keys in dicts, expiring on the injected clock's monotonic time."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._closed = False
        self._runners: dict[str, tuple[float, RunnerBeat]] = {}
        self._tasks: dict[int, float] = {}
        self._stats: tuple[float, dict[str, str | int | float]] = (0.0, {})
        self._sweep_at = 0.0

    def beat_runners(self, beats: Sequence[RunnerBeat], ttl: float) -> bool:
        """Show these runners as alive for ``ttl`` seconds."""
        expires = self._clock.monotonic() + ttl
        with self._lock:
            if self._closed:
                return False
            self._runners.update((beat.runner_id, (expires, beat)) for beat in beats)
        return True

    def beat_tasks(self, beats: Sequence[TaskBeat], ttl: float) -> bool:
        """Show these tasks as alive for ``ttl`` seconds."""
        now = self._clock.monotonic()
        with self._lock:
            if self._closed:
                return False
            if now >= self._sweep_at:  # tasks end without a word, so expired keys pile up
                self._tasks = {key: at for key, at in self._tasks.items() if at > now}
                self._sweep_at = now + ttl
            self._tasks.update((beat.task_id, now + ttl) for beat in beats)
        return True

    def forget_runner(self, runner_id: str) -> bool:
        """Remove a runner at once."""
        with self._lock:
            self._runners.pop(runner_id, None)
            return not self._closed

    def forget_tasks(self, task_ids: Sequence[int]) -> bool:
        """Remove tasks at once."""
        with self._lock:
            for task_id in task_ids:
                self._tasks.pop(task_id, None)
            return not self._closed

    def alive_runners(self, runner_ids: Sequence[str]) -> frozenset[str] | None:
        """Return those that are alive; None after `close`."""
        now = self._clock.monotonic()
        with self._lock:
            if self._closed:
                return None
            runners = self._runners
            return frozenset(r for r in runner_ids if r in runners and runners[r][0] > now)

    def alive_tasks(self, task_ids: Sequence[int]) -> frozenset[int] | None:
        """Return those that are alive; None after `close`."""
        now = self._clock.monotonic()
        with self._lock:
            if self._closed:
                return None
            return frozenset(t for t in task_ids if self._tasks.get(t, now) > now)

    def runner_details(self, runner_ids: Sequence[str] | None = None) -> list[RunnerBeat]:
        """Return the last beats of live runners, by id."""
        now = self._clock.monotonic()
        with self._lock:
            self._check_open()
            wanted = self._runners.keys() if runner_ids is None else set(runner_ids)
            alive = [
                beat
                for runner_id, (expires, beat) in self._runners.items()
                if expires > now and runner_id in wanted
            ]
        return sorted(alive, key=lambda beat: beat.runner_id)

    def publish_stats(self, stats: Mapping[str, str | int | float], ttl: float) -> bool:
        """Replace the snapshot."""
        expires = self._clock.monotonic() + ttl
        with self._lock:
            if self._closed:
                return False
            self._stats = (expires, dict(stats))
        return True

    def stats(self) -> dict[str, str | int | float]:
        """Return the snapshot, or an empty dict once it has expired."""
        now = self._clock.monotonic()
        with self._lock:
            self._check_open()
            expires, stats = self._stats
            return dict(stats) if expires > now else {}

    def continuity(self) -> float:
        """Return infinity: the process cannot be away from itself. 0.0 after `close`."""
        return 0.0 if self._closed else math.inf

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._closed = True
            self._runners.clear()
            self._tasks.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise CoordinationUnavailable("coordination is closed")


def local_coordination(
    namespace: str = DEFAULT_NAMESPACE, clock: Clock | None = None
) -> Coordination:
    """Build the in-process pair. Raises InvalidArgument for a bad namespace."""
    return Coordination(LocalNotifier(), LocalHeartbeats(clock), Keys(namespace).namespace)
