"""Hints over Redis pub/sub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mqtasks.coordination.base import Notifier, Subscription
from mqtasks.coordination.counter import Counter
from mqtasks.coordination.link import RedisLink
from mqtasks.coordination.listener import Listener
from mqtasks.errors import CoordinationUnavailable


class RedisNotifier(Notifier):
    """Publishes through the link's breaker and receives on one listener thread.

    The thread and its connection exist from the first subscription on.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        link.join(self)
        self._closed = False
        self._sent = Counter()
        self._failed = Counter()
        self._received = Counter()
        self._listener = Listener(
            link.server, link.keys.listener, link.open_pubsub, link.describe, self._deliver
        )

    def publish(self, channel: str, payload: bytes = b"") -> bool:
        """Send one hint; return whether the server took it."""
        return self._send(1, lambda client: client.publish(channel, payload))

    def publish_many(self, messages: Sequence[tuple[str, bytes]]) -> bool:
        """Send many hints in one round trip."""

        def send(client: Any) -> None:
            pipeline = client.pipeline(transaction=False)
            for channel, payload in messages:
                pipeline.publish(channel, payload)
            pipeline.execute()

        return not messages or self._send(len(messages), send)

    def subscribe(
        self,
        channels: Sequence[str],
        callback: Callable[[str, bytes], None],
        on_gap: Callable[[], None] | None = None,
    ) -> Subscription:
        """Subscribe; see `Notifier.subscribe`. After `close` the subscription is closed, too."""
        return self._listener.table.open(channels, callback, on_gap)

    def healthy(self) -> bool:
        """Return whether the last command was answered and subscriptions are connected.

        Never waits for the server.
        """
        return not self._closed and not self._link.breaker.is_open and self._listener.healthy

    @property
    def sent(self) -> int:
        """Hints the server took."""
        return self._sent.value

    @property
    def failed(self) -> int:
        """Hints that it did not take."""
        return self._failed.value

    @property
    def received(self) -> int:
        """Hints that had a subscriber."""
        return self._received.value

    def close(self) -> None:
        """End all subscriptions and join the listener."""
        self._closed = True
        self._listener.close()
        self._link.leave(self)

    def _send(self, count: int, command: Callable[[Any], object]) -> bool:
        if not self._closed:
            try:
                self._link.call("publish", command)
            except CoordinationUnavailable:
                pass
            else:
                self._sent.add(count)
                return True
        self._failed.add(count)
        return False

    def _deliver(self, channel: str, payload: bytes) -> None:
        if self._listener.table.dispatch(channel, payload):
            self._received.add()
