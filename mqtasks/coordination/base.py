"""The two ports of coordination: hints (`Notifier`) and liveness (`Heartbeats`).

Nothing here is truth. A hint may be lost, doubled or late, a key may vanish, a server may be away
for hours: storage decides, and every loop polls. So no method below ever makes its caller fail
because Redis did, with two exceptions for monitoring (`Heartbeats.runner_details` and
`Heartbeats.stats`), which raise CoordinationUnavailable because they have nothing else to say.

All durations are seconds. Every object is safe to use from many threads. After a fork the child may
go on publishing and subscribing; what was subscribed before is received there from its first new
subscription on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import msgspec


class RunnerBeat(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner tells about itself with each heartbeat. For monitoring, never truth."""

    runner_id: str
    generation: int
    """Generation of the runner row that this process holds."""
    host: str = ""
    pid: int = 0
    parallelism: int = 1
    """Tasks it executes at once."""
    free_slots: int = 0
    """Tasks it could start now; a hint for the allocator."""
    executors: tuple[str, ...] = ()
    """Stored forms of the executor codes it runs."""
    labels: dict[str, str] = {}
    cpu: float = 0.0
    """Cores it offers for reservations."""
    memory: int = 0
    """Bytes it offers for reservations."""
    running: int = 0
    """Tasks it executes now."""
    started_total: int = 0
    """Tasks started since the process began; so are the two below."""
    completed_total: int = 0
    failed_total: int = 0
    version: str = ""
    """Version of mqtasks."""
    state: str = ""
    """State of the runner row as this process knows it: active, draining or stopped."""


class TaskBeat(msgspec.Struct, frozen=True):
    """One task that is alive: who runs it, and in which epoch."""

    task_id: int
    runner_id: str
    epoch: int


class Subscription(ABC):
    """A set of channels with one callback; returned by `Notifier.subscribe`.

    A context manager that closes itself. Channels may be added and removed at any time.
    """

    @property
    @abstractmethod
    def channels(self) -> frozenset[str]:
        """The channels subscribed to now; empty after `close`."""

    @property
    @abstractmethod
    def active(self) -> bool:
        """Whether the server has confirmed every channel, so that hints arrive."""

    @abstractmethod
    def add(self, *channels: str) -> None:
        """Subscribe to more channels, as `Notifier.subscribe` does. Known ones are ignored."""

    @abstractmethod
    def remove(self, *channels: str) -> None:
        """Unsubscribe from channels. Unknown ones are ignored."""

    @abstractmethod
    def close(self) -> None:
        """Remove every channel for good. May be called twice, and inside the callback.

        A call of the callback that has begun already may still be running afterwards.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Notifier(ABC):
    """Publishes and receives hints."""

    @abstractmethod
    def publish(self, channel: str, payload: bytes = b"") -> bool:
        """Send one hint and return whether it was sent.

        Never raises and never blocks for longer than the socket timeouts; while the server is
        known to be away it returns False within microseconds. Failures are logged once per outage.
        """

    @abstractmethod
    def publish_many(self, messages: Sequence[tuple[str, bytes]]) -> bool:
        """Send many (channel, payload) pairs in one round trip; as `publish` otherwise.

        False means that some or all of them may not have been sent.
        """

    @abstractmethod
    def subscribe(
        self,
        channels: Sequence[str],
        callback: Callable[[str, bytes], None],
        on_gap: Callable[[], None] | None = None,
    ) -> Subscription:
        """Call ``callback(channel, payload)`` for each hint on ``channels``.

        Callbacks run on the thread that received the hint (with the local notifier: the
        publisher's), one at a time per thread. They must be quick: set an event, no more. What
        they raise is logged and goes nowhere.

        When this returns, either hints arrive from now on (`Subscription.active`), or the server
        could not be asked; then ``on_gap`` is called as soon as they do. ``on_gap`` is also called
        when hints stop arriving, so that the loop no longer relies on them, and after each
        reconnect: hints may have been missed, so the loop should poll at once.

        This waits at most about a second, and not at all while the server is known to be away or
        when called from a callback.
        """

    @abstractmethod
    def healthy(self) -> bool:
        """Return whether hints flow: the server answers, and subscriptions are connected."""

    @property
    @abstractmethod
    def sent(self) -> int:
        """Hints sent since construction."""

    @property
    @abstractmethod
    def failed(self) -> int:
        """Hints that could not be sent since construction."""

    @property
    @abstractmethod
    def received(self) -> int:
        """Hints handed to at least one callback since construction."""

    @abstractmethod
    def close(self) -> None:
        """End all subscriptions and join the threads. Afterwards `publish` returns False.

        May be called twice, and from a callback.
        """


class Heartbeats(ABC):
    """Liveness keys with a time to live. ``ttl`` is seconds, > 0."""

    @abstractmethod
    def beat_runners(self, beats: Sequence[RunnerBeat], ttl: float) -> bool:
        """Show these runners as alive for ``ttl`` more; return whether it was written.

        Never raises, as all ``beat`` and ``forget`` methods.
        """

    @abstractmethod
    def beat_tasks(self, beats: Sequence[TaskBeat], ttl: float) -> bool:
        """Show these tasks as alive for ``ttl`` more; return whether it was written."""

    @abstractmethod
    def forget_runner(self, runner_id: str) -> bool:
        """Remove a runner's key at once, as an orderly stop does. Unknown ids are ignored."""

    @abstractmethod
    def forget_tasks(self, task_ids: Sequence[int]) -> bool:
        """Remove tasks' keys at once. Unknown ids are ignored."""

    @abstractmethod
    def alive_runners(self, runner_ids: Sequence[str]) -> frozenset[str] | None:
        """Return which of these runners have a live key; None when the server cannot be asked."""

    @abstractmethod
    def alive_tasks(self, task_ids: Sequence[int]) -> frozenset[int] | None:
        """Return which of these tasks have a live key; None when the server cannot be asked."""

    @abstractmethod
    def runner_details(self, runner_ids: Sequence[str] | None = None) -> list[RunnerBeat]:
        """Return the last beat of each live runner, ordered by id; for monitoring.

        With ``None`` the server is searched for runner keys, which costs in proportion to all keys
        it holds; name the ids where they are known. Raises CoordinationUnavailable.
        """

    @abstractmethod
    def publish_stats(self, stats: Mapping[str, str | int | float], ttl: float) -> bool:
        """Replace the leader's snapshot as a whole; it expires after ``ttl``. Never raises."""

    @abstractmethod
    def stats(self) -> dict[str, str | int | float]:
        """Return the leader's last snapshot, empty when there is none; for monitoring.

        Values that look like numbers come back as numbers. Raises CoordinationUnavailable.
        """

    @abstractmethod
    def continuity(self) -> float:
        """Return for how many seconds this object has watched one unbroken, unflushed server.

        Asks the server each time; the first call starts the watch at 0.0. A call of any method
        that failed, a restarted or different server, or lost data restart it. 0.0 while the server
        is away. Never raises. Keys may delay a rescue only while this is at least a whole
        heartbeat timeout.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the server. Afterwards every method acts as if it were away.

        May be called twice. What notifier and heartbeats share is freed by the last of them.
        """


@dataclass(frozen=True)
class Coordination:
    """Both ports of one namespace, closed together. A context manager."""

    notifier: Notifier
    heartbeats: Heartbeats
    namespace: str

    def close(self) -> None:
        """Close both ports and join their threads. May be called twice."""
        self.notifier.close()
        self.heartbeats.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
