"""Who wants which channel: the bookkeeping shared by the local and the Redis notifier."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from mqtasks.coordination.base import Subscription

_log = logging.getLogger("mqtasks.coordination")


class Wire(Protocol):
    """What carries the hints of a table; told whenever the wanted channels have changed."""

    def changed(self, subscription: TableSubscription, added: frozenset[str]) -> None:
        """Bring the wire up to date; wait until ``added`` is confirmed, as `subscribe` says."""
        ...

    def carries(self, channels: frozenset[str]) -> bool:
        """Return whether hints on all ``channels`` arrive now."""
        ...


class SubscriptionTable:
    """Channel -> subscriptions. Readers take no lock: each change replaces the tuple it touches."""

    def __init__(self, wire: Wire) -> None:
        self._lock = threading.Lock()
        self._by_channel: dict[str, tuple[TableSubscription, ...]] = {}
        self._subscriptions: frozenset[TableSubscription] = frozenset()
        self.wire = wire

    @property
    def channels(self) -> frozenset[str]:
        """Every channel that somebody wants."""
        with self._lock:
            return frozenset(self._by_channel)

    @property
    def subscriptions(self) -> frozenset[TableSubscription]:
        """Every subscription that is open."""
        return self._subscriptions

    def open(
        self,
        channels: Iterable[str],
        callback: Callable[[str, bytes], None],
        on_gap: Callable[[], None] | None,
    ) -> Subscription:
        """Make a subscription and wait for the wire, see `Notifier.subscribe`."""
        subscription = TableSubscription(self, callback, on_gap)
        with self._lock:
            self._subscriptions |= {subscription}
        subscription.add(*channels)
        return subscription

    def dispatch(self, channel: str, payload: bytes) -> bool:
        """Call every callback of ``channel``; return whether there was one."""
        wanted = self._by_channel.get(channel, ())
        for subscription in wanted:
            subscription.deliver(channel, payload)
        return bool(wanted)

    def add(self, subscription: TableSubscription, channels: Iterable[str]) -> frozenset[str]:
        """Enter ``channels`` for a subscription; return those that it did not have."""
        with self._lock:
            if subscription not in self._subscriptions:
                return frozenset()
            added = frozenset(channels) - subscription.channels
            for channel in added:
                self._by_channel[channel] = (*self._by_channel.get(channel, ()), subscription)
            subscription.channels_now |= added
            return added

    def remove(self, subscription: TableSubscription, channels: Iterable[str]) -> None:
        """Take ``channels`` from a subscription."""
        with self._lock:
            self._remove(subscription, frozenset(channels) & subscription.channels)

    def forget(self, subscription: TableSubscription) -> None:
        """Close a subscription: it can have no channels any more."""
        with self._lock:
            self._remove(subscription, subscription.channels)
            self._subscriptions -= {subscription}

    def _remove(self, subscription: TableSubscription, channels: frozenset[str]) -> None:
        for channel in channels:
            left = tuple(s for s in self._by_channel[channel] if s is not subscription)
            if left:
                self._by_channel[channel] = left
            else:
                del self._by_channel[channel]
        subscription.channels_now -= channels

    def clear(self) -> None:
        """Close every subscription."""
        for subscription in self._subscriptions:
            self.forget(subscription)


class TableSubscription(Subscription):
    """One entry of a table; see `Subscription` for the contract."""

    def __init__(
        self,
        table: SubscriptionTable,
        callback: Callable[[str, bytes], None],
        on_gap: Callable[[], None] | None,
    ) -> None:
        self._table = table
        self._callback = callback
        self._on_gap = on_gap
        self.channels_now: frozenset[str] = frozenset()
        """Written by the table under its lock."""
        self.gap = False
        """Hints may have been missed, and `on_gap` is due; written under the wire's lock."""

    @property
    def channels(self) -> frozenset[str]:
        """The channels subscribed to now."""
        return self.channels_now

    @property
    def active(self) -> bool:
        """Whether every channel is confirmed."""
        channels = self.channels_now
        return bool(channels) and self._table.wire.carries(channels)

    def add(self, *channels: str) -> None:
        """Subscribe to more channels."""
        added = self._table.add(self, channels)
        if added:
            self._table.wire.changed(self, added)

    def remove(self, *channels: str) -> None:
        """Unsubscribe from channels."""
        self._table.remove(self, channels)
        self._table.wire.changed(self, frozenset())

    def close(self) -> None:
        """Remove every channel for good."""
        self._table.forget(self)
        self._table.wire.changed(self, frozenset())

    def deliver(self, channel: str, payload: bytes) -> None:
        """Call the callback unless the channel has been removed; log what it raises."""
        if channel not in self.channels_now:
            return
        try:
            self._callback(channel, payload)
        except Exception:  # noqa: BLE001 - a publisher must not pay for a subscriber
            _log.exception("a subscriber of %s failed; it should only set an event", channel)

    def report_gap(self) -> None:
        """Call `on_gap` if there is one; log what it raises."""
        if self._on_gap is None:
            return
        try:
            self._on_gap()
        except Exception:  # noqa: BLE001 - as above
            _log.exception("an on_gap callback failed; it should only set an event")
