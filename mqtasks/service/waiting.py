"""Waiting for tasks to end: one thread for everybody in this process who waits.

Life cycle: the thread starts with the first `TaskWaiter.watch` and ends a second after the last
watch has; an idle service has none. It asks storage which of the due tasks have not ended, one
statement for all of them, and asks again after 2 ms, then less and less often. A hint that tasks
have ended makes them due at once; it is never believed. So that runners send such hints, it tells
them every 3 s that somebody waits.

Failure handling: a lost hint, or no Redis at all, costs the time until the next look. Storage that
cannot be reached is asked again, until the caller's own deadline. Anything else, and `close`, ends
every watch with an error. After a fork the child has no thread and no watch of its parent's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from mqtasks.clock import Clock
from mqtasks.coordination.base import Notifier, Subscription
from mqtasks.coordination.keys import Keys
from mqtasks.coordination.local import LocalNotifier
from mqtasks.errors import MQTasksError, StorageConflict, StorageUnavailable
from mqtasks.loop import ChangeWatcher, OutageLog, Wake
from mqtasks.storage.contract import TaskStorage

MAX_IDS: Final = 1000
"""Most task ids of one hint."""
WAITING_INTERVAL: Final = 3.0
"""Seconds between two hints that somebody waits."""
FIRST_LOOK: Final = 0.002
"""Seconds from the first look at a task to the second."""
_APART: Final = 0.002
"""Seconds between any two looks, at least."""
LONGEST: Final = 1.0
"""Seconds between looks at a task, at most, while hints flow."""
LONGEST_UNHINTED: Final = 0.25
_SLOWER: Final = 1.5
_TOGETHER: Final = 0.5
"""A task whose next look is less than this part of its interval away is looked at now."""
_SHARE: Final = 4.0
"""Looks are apart by this many times what one takes: the thread never works all the time."""
_LINGER: Final = 1.0
_JOIN_TIMEOUT: Final = 5.0
_MAX_HINT_BYTES: Final = 16 * 1024

_log = logging.getLogger("mqtasks.service")
_decode_ids = msgspec.msgpack.Decoder(list[int]).decode
_all: weakref.WeakSet[TaskWaiter] = weakref.WeakSet()


def encode_ended(task_ids: Iterable[int]) -> bytes:
    """Return the hint that these tasks, `MAX_IDS` at most, have ended."""
    return msgspec.msgpack.encode(list(task_ids))


def decode_ended(payload: bytes) -> list[int]:
    """Return the task ids of a hint; none if it is garbled or too large."""
    if len(payload) > _MAX_HINT_BYTES:
        return []
    try:
        return _decode_ids(payload)
    except msgspec.DecodeError:
        return []


class Watch:
    """What one caller waits for. Made by `TaskWaiter.watch`; close it when done."""

    def __init__(
        self, waiter: TaskWaiter, task_ids: Iterable[int], notify: Callable[[], None]
    ) -> None:
        self._waiter = waiter
        self._notify = notify
        self.pending: set[int] = set(task_ids)
        """Task ids not known to have ended; the waiter's, under its lock."""
        self.ended: list[int] = []
        self.error: MQTasksError | None = None

    def take(self) -> list[int]:
        """Return the task ids found to have ended since the last call; raises what went wrong."""
        ended = self._waiter.take(self)
        if not ended and self.error is not None:
            raise self.error
        return ended

    def tell(self) -> None:
        """Wake the caller."""
        self._notify()

    def close(self) -> None:
        """Wait no more. Idempotent."""
        self._waiter.forget(self)


class _Entry:
    """One task that is waited for."""

    __slots__ = ("due", "interval", "watches")

    def __init__(self, due: float) -> None:
        self.due = due
        self.interval = FIRST_LOOK
        self.watches: set[Watch] = set()


class TaskWaiter:
    """See the module's docstring. Safe to use from many threads."""

    def __init__(self, storage: TaskStorage, notifier: Notifier, keys: Keys, clock: Clock) -> None:
        """Build a waiter; nothing is started before the first `watch`."""
        self._storage = storage
        self._notifier = notifier
        self._keys = keys
        self._now = clock.monotonic
        self._clock = clock
        self._closed = False
        self._entries: dict[int, _Entry] = {}
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._wake = Wake()
        self._thread: threading.Thread | None = None
        self._subscription: Subscription | None = None

    @property
    def active(self) -> bool:
        """Whether its thread is running."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def watch(
        self, task_ids: Iterable[int], notify: Callable[[], None], *, looked: bool = False
    ) -> Watch:
        """Wait for tasks; ``notify()`` is called, by the waiter's thread, when `take` has news.

        A task that is not stored counts as ended. ``looked`` says that the caller has just seen
        that they had not ended.
        """
        watch = Watch(self, task_ids, notify)
        due = self._now() + (FIRST_LOOK if looked else 0.0)
        with self._lock:
            if self._closed:
                raise StorageUnavailable("the task service was closed")
            for task_id in watch.pending:
                entry = self._entries.get(task_id)
                if entry is None:
                    entry = self._entries[task_id] = _Entry(due)
                entry.due = min(entry.due, due)
                entry.watches.add(watch)
            if watch.pending and self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="mqtasks-waiter", daemon=True
                )
                self._thread.start()
        self._wake.set()
        return watch

    def take(self, watch: Watch) -> list[int]:
        """See `Watch.take`."""
        with self._lock:
            ended, watch.ended = watch.ended, []
            return ended

    def forget(self, watch: Watch) -> None:
        """See `Watch.close`."""
        with self._lock:
            for task_id in watch.pending:
                entry = self._entries.get(task_id)
                if entry is not None:
                    entry.watches.discard(watch)
                    if not entry.watches:
                        del self._entries[task_id]
            watch.pending.clear()

    def close(self) -> None:
        """End every watch with StorageUnavailable, and join the thread. Idempotent."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._fail(StorageUnavailable("the task service was closed while a task was awaited"))
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_TIMEOUT)

    def forked(self) -> None:
        """Start over in a forked child: watches of the parent end with an error here."""
        self._begin()
        self._fail(StorageUnavailable("this wait began before a fork: begin it anew"))

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        watcher: ChangeWatcher | None = None
        try:
            if self._watches_storage:
                watcher = ChangeWatcher(
                    self._storage.change_count, self._all_due, clock=self._clock
                )
                watcher.start()
            self._loop()
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            _log.exception("waiting for tasks failed")
            self._fail(MQTasksError(f"waiting failed: {type(error).__name__}: {error}"))
            while not self._leave():
                self._fail(MQTasksError(f"waiting failed: {type(error).__name__}: {error}"))
        finally:
            if watcher is not None:
                watcher.stop(_JOIN_TIMEOUT)

    def _loop(self) -> None:
        outage = OutageLog("waiting for tasks", _log)
        told = ready = float("-inf")
        idle_since = self._now()
        while True:
            now = self._now()
            due = max(self._next_due(), ready)
            if due <= now:
                try:
                    self._look()
                except (StorageUnavailable, StorageConflict) as error:
                    outage.failed(error, now, LONGEST_UNHINTED)
                    ready = self._now() + LONGEST_UNHINTED
                else:
                    ended = self._now()
                    outage.succeeded(ended)
                    ready = ended + max(_APART, _SHARE * (ended - now))
            if self._entries:
                idle_since = now
                if now - told >= WAITING_INTERVAL:
                    told = now
                    self._listen()
            elif (self._closed or now - idle_since >= _LINGER) and self._leave():
                return
            rest = max(self._next_due(), ready) - self._now()
            if rest > 0:
                self._wake.wait(min(rest, WAITING_INTERVAL if self._entries else _LINGER))

    def _leave(self) -> bool:
        """Give up thread and subscription unless somebody waits; the two are one step."""
        with self._lock:
            if self._entries:
                return False
            if self._thread is threading.current_thread():
                self._thread = None
            subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()
        return True

    def _next_due(self) -> float:
        with self._lock:
            return min((entry.due for entry in self._entries.values()), default=float("inf"))

    def _look(self) -> None:
        now = self._now()
        longest = LONGEST if self._hints_flow() else LONGEST_UNHINTED
        with self._lock:
            asked = []
            for task_id, entry in self._entries.items():
                if entry.due - now <= entry.interval * _TOGETHER:
                    asked.append(task_id)
                    entry.interval = min(entry.interval * _SLOWER, longest)
                    entry.due = now + entry.interval
        if not asked:
            return
        unended = self._storage.unended(asked)
        told: set[Watch] = set()
        with self._lock:
            for task_id in asked:
                gone = None if task_id in unended else self._entries.pop(task_id, None)
                for watch in gone.watches if gone is not None else ():
                    watch.pending.discard(task_id)
                    watch.ended.append(task_id)
                    told.add(watch)
        for watch in told:
            watch.tell()

    def _fail(self, error: MQTasksError) -> None:
        with self._lock:
            watches = {watch for entry in self._entries.values() for watch in entry.watches}
            self._entries.clear()
            for watch in watches:
                watch.error = error
        for watch in watches:
            watch.tell()

    # -- hints --------------------------------------------------------------------------------

    @property
    def _watches_storage(self) -> bool:
        """Whether nothing but storage itself tells what other processes do, and it can."""
        capabilities = self._storage.capabilities
        local = isinstance(self._notifier, LocalNotifier)
        return local and capabilities.cross_process and capabilities.change_counter

    def _hints_flow(self) -> bool:
        """Return whether the end of a task reaches this process without looking for it."""
        if isinstance(self._notifier, LocalNotifier):
            return self._watches_storage or not self._storage.capabilities.cross_process
        subscription = self._subscription
        return subscription is not None and subscription.active and self._notifier.healthy()

    def _listen(self) -> None:
        if self._subscription is None:
            self._subscription = self._notifier.subscribe(
                [self._keys.ended], self._hinted, self._all_due
            )
        self._notifier.publish(self._keys.waiting)

    def _hinted(self, _channel: str, payload: bytes) -> None:
        now, found = self._now(), False
        with self._lock:
            for task_id in decode_ended(payload):
                entry = self._entries.get(task_id)
                if entry is not None:
                    entry.due, found = now, True
        if found:
            self._wake.set()

    def _all_due(self) -> None:
        now = self._now()
        with self._lock:
            for entry in self._entries.values():
                entry.due = min(entry.due, now)
        self._wake.set()


def _forked() -> None:
    for waiter in list(_all):
        with contextlib.suppress(Exception):  # nobody could catch it; the next wait starts anyway
            waiter.forked()


os.register_at_fork(after_in_child=_forked)
