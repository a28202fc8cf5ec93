"""The thread that receives hints from Redis, reconnects, and tells subscribers about gaps.

Life cycle: the first subscription starts the thread. It opens a pub/sub connection, subscribes to
everything wanted, and reads; on any error it drops the connection, waits (50 ms, doubling to 2 s)
and starts over. Other threads only ever *send* on the connection, under `_cond`; the listener
alone opens, reads and closes it.

Failure handling: a broken connection shows as a read error, a silent one as a PING without an
answer. Either way every subscription gets `on_gap` at once, and again once hints flow. redis-py's
own reconnection is switched off, because it would hide gaps.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Protocol

from mqtasks.coordination.subscriptions import SubscriptionTable, TableSubscription

_log = logging.getLogger("mqtasks.coordination")

CONFIRM_TIMEOUT: Final = 1.0  # seconds `subscribe` waits for the server
_FIRST_DELAY: Final = 0.05
_LAST_DELAY: Final = 2.0
_READ_WAIT: Final = 1.0
_PING_AFTER: Final = 5.0  # seconds of silence; keeps the idle cost at 0.2 commands/s
_PONG_WITHIN: Final = 1.0
_JOIN_TIMEOUT: Final = 5.0


class PubSub(Protocol):
    """The part of redis-py's PubSub that is used."""

    def subscribe(self, *channels: str) -> object:
        """Send SUBSCRIBE, connecting first if necessary."""
        ...

    def unsubscribe(self, *channels: str) -> object:
        """Send UNSUBSCRIBE."""
        ...

    def ping(self) -> object:
        """Send PING."""
        ...

    def get_message(self, *, timeout: float) -> dict[str, Any] | None:
        """Return the next message, or None after ``timeout`` seconds."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


class _Silent(Exception):
    """The server has not answered a PING."""


class Listener:
    """Carries the hints of a `SubscriptionTable`; see the module's docstring.

    Args:
        server: How logs name the server; without secrets.
        keep_alive: A channel nobody publishes on, so that the connection is never without one.
        open_pubsub: Makes an unconnected pub/sub object.
        describe: An error as text without secrets.
        deliver: Takes each (channel, payload).
    """

    def __init__(
        self,
        server: str,
        keep_alive: str,
        open_pubsub: Callable[[], PubSub],
        describe: Callable[[Exception], str],
        deliver: Callable[[str, bytes], None],
    ) -> None:
        self._server = server
        self._keep_alive = keep_alive
        self._open_pubsub = open_pubsub
        self._describe = describe
        self._deliver = deliver
        self.table = SubscriptionTable(self)
        self._cond = threading.Condition(threading.RLock())
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._pubsub: PubSub | None = None
        self._subscribed: set[str] = set()
        self._unconfirmed: Counter[str] = Counter()
        self._losses = 0
        self._down_since: float | None = None
        self._interrupted: list[TableSubscription] = []

    @property
    def healthy(self) -> bool:
        """Whether hints flow; True while nobody listens."""
        with self._cond:
            return self._thread is None or self.carries(self.table.channels)

    @property
    def losses(self) -> int:
        """How many connections have failed or could not be made."""
        return self._losses

    def carries(self, channels: frozenset[str]) -> bool:
        """Return whether the server has confirmed all of ``channels`` on the present connection."""
        with self._cond:
            return (
                self._connection is not None
                and not self._closing.is_set()
                and self._keep_alive in self._subscribed
                and channels <= self._subscribed
                and not any(self._unconfirmed[channel] for channel in channels)
            )

    def changed(self, subscription: TableSubscription, added: frozenset[str]) -> None:
        """Send what has changed, and wait until the server has confirmed ``added``."""
        with self._cond:
            if self._closing.is_set():
                self.table.forget(subscription)
                return
            if added:
                self._ensure_thread()
            self._send_changes()
            if not added:
                return
            losses = self._losses
            if self._down_since is None and self._thread is not threading.current_thread():
                self._cond.wait_for(
                    lambda: self.carries(added) or self._losses != losses or self._closing.is_set(),
                    CONFIRM_TIMEOUT,
                )
            if not self.carries(added):
                subscription.gap = True

    def close(self) -> None:
        """Close the connection and join the thread. May be called twice, and by the thread."""
        with self._cond:
            self._closing.set()
            self._cond.notify_all()
            thread = self._thread
            self._send(lambda pubsub: pubsub.ping())  # the answer wakes the reader
        self.table.clear()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_TIMEOUT)

    @property
    def _connection(self) -> PubSub | None:
        """The present connection; None also if a fork has left its thread in the parent."""
        thread = self._thread
        return self._pubsub if thread is not None and thread.is_alive() else None

    def _ensure_thread(self) -> None:
        if self._thread is not None:
            if self._thread.is_alive():
                return
            self._pubsub, self._down_since = None, None  # both are the parent's
        self._thread = threading.Thread(
            target=self._run, name="mqtasks-redis-listener", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        delay = _FIRST_DELAY
        while not self._closing.is_set():
            try:
                pubsub = self._open_pubsub()
                try:
                    self._connect(pubsub)
                    delay = _FIRST_DELAY
                    self._read(pubsub)
                finally:
                    self._disconnect(pubsub)
            except Exception as error:  # noqa: BLE001 - whatever broke it, the next may work
                self._lost(error)
                self._closing.wait(delay * random.uniform(0.8, 1.2))
                delay = min(delay * 2, _LAST_DELAY)

    def _connect(self, pubsub: PubSub) -> None:
        """Subscribe to what is wanted, and return once the server has confirmed it."""
        with self._cond:
            first = self.table.channels | {self._keep_alive}
            self._subscribed = set(first)
            self._unconfirmed = Counter(first)
        pubsub.subscribe(*sorted(first))  # connects: must not hold the lock
        with self._cond:
            self._pubsub = pubsub
            self._send_changes()
        deadline = time.monotonic() + CONFIRM_TIMEOUT
        while self._pubsub is pubsub and self._unconfirmed[self._keep_alive]:
            if time.monotonic() > deadline:
                raise _Silent(f"no answer to SUBSCRIBE within {CONFIRM_TIMEOUT:g} s")
            self._handle(pubsub.get_message(timeout=CONFIRM_TIMEOUT))
        with self._cond:
            down_since, self._down_since = self._down_since, None
        if down_since is not None:
            _log.info(
                "redis %s: hints are received again after %.1f s",
                self._server,
                time.monotonic() - down_since,
            )
        self._report_gaps()

    def _read(self, pubsub: PubSub) -> None:
        heard = time.monotonic()
        pinged: float | None = None
        while self._pubsub is pubsub and not self._closing.is_set():
            message = pubsub.get_message(timeout=_READ_WAIT)
            now = time.monotonic()
            if message is not None:
                heard, pinged = now, None
                self._handle(message)
            elif pinged is not None:
                if now - pinged > _PONG_WITHIN:
                    raise _Silent(f"no answer to PING within {now - pinged:.1f} s")
            elif now - heard >= _PING_AFTER:
                pinged = now
                with self._cond:
                    pubsub.ping()
        if not self._closing.is_set():
            raise _Silent("a subscription could not be sent")

    def _handle(self, message: dict[str, Any] | None) -> None:
        if message is None:
            return
        kind = message["type"]
        if kind == "message":
            self._deliver(message["channel"].decode(), message["data"])
        elif kind == "subscribe":
            with self._cond:
                self._unconfirmed[message["channel"].decode()] -= 1
                self._cond.notify_all()
            self._report_gaps()

    def _report_gaps(self) -> None:
        """Call `on_gap` of the subscriptions that may have missed hints and now receive them."""
        with self._cond:
            due = [s for s in self.table.subscriptions if s.gap and s.active]
            for subscription in due:
                subscription.gap = False
        for subscription in due:
            subscription.report_gap()

    def _send_changes(self) -> None:
        """Subscribe and unsubscribe until the server's view equals the table's. Needs the lock."""
        if self._connection is None:
            return
        wanted = self.table.channels | {self._keep_alive}
        more = wanted - self._subscribed
        less = self._subscribed - wanted
        if more:
            self._unconfirmed.update(more)
            self._subscribed |= more
            self._send(lambda pubsub: pubsub.subscribe(*sorted(more)))
        if less:
            self._subscribed -= less
            self._send(lambda pubsub: pubsub.unsubscribe(*sorted(less)))

    def _send(self, command: Callable[[PubSub], object]) -> None:
        """Send on the present connection; give it up if that fails. Needs the lock."""
        pubsub = self._connection
        if pubsub is None:
            return
        try:
            command(pubsub)
        except Exception as error:  # noqa: BLE001 - the listener will see it, too
            _log.debug("redis %s: sending failed: %s", self._server, self._describe(error))
            self._pubsub = None

    def _disconnect(self, pubsub: PubSub) -> None:
        with self._cond:
            self._interrupted = [s for s in self.table.subscriptions if s.active]
            self._pubsub = None
            self._subscribed = set()
            self._unconfirmed = Counter()
        pubsub.close()

    def _lost(self, error: Exception) -> None:
        with self._cond:
            if self._closing.is_set():
                return
            first = self._down_since is None
            if first:
                self._down_since = time.monotonic()
            self._losses += 1
            for subscription in self.table.subscriptions:
                subscription.gap = True
            interrupted, self._interrupted = self._interrupted, []
            self._cond.notify_all()
        if first:
            # Loops that rely on hints must poll from now on, not after their next long wait.
            for subscription in interrupted:
                subscription.report_gap()
            _log.warning(
                "redis %s: hints cannot be received (%s): polling until they can",
                self._server,
                self._describe(error),
            )
