"""What happens in this process, told to whoever listens: logs, metrics, traces, tests.

Events are telemetry: they follow the truth, never make it, and reach only this process. `EVENTS`
names each with its fields, and both are public API. A subscriber is called in the thread in which
the event happened, so it must be quick; if it raises, that is logged and harms nobody.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from mqtasks.errors import InvalidArgument

_log = logging.getLogger("mqtasks.events")

EVENTS: Final[Mapping[str, str]] = {
    "task.enqueued": (
        "A new task was committed by this process: task_id, metadata_id, executor. In a transaction"
        " of the caller's only if its library tells of the commit."
    ),
    "task.started": "Its executor is about to run: task_id, executor, runner, epoch, attempt.",
    "task.finished": (
        "The end of a task was committed: task_id, executor, runner, epoch, outcome (success,"
        " failed or canceled), seconds (execution time), error (empty on success)."
    ),
    "task.retried": (
        "A failed attempt was put back with a delay: task_id, executor, runner, epoch, attempt,"
        " delay_ms, error."
    ),
    "task.released": "A runner gave a task back: task_id, executor, runner, epoch.",
    "task.abandoned": (
        "A task was cancelled and does not give up; its end is reported without it, its thread is"
        " lost for now: task_id, executor, runner, epoch, reason, lost (threads of this process)."
    ),
    "task.reassigned": "The scheduler took a task from a lost runner: task_id, runner, epoch.",
    "runner.started": "A runner registered: runner, generation.",
    "runner.fenced": "A runner learned that its lease was lost: runner, generation.",
    "runner.stopped": "A runner has stopped: runner, generation.",
    "scheduler.leading": "This scheduler became the leader: holder, term.",
    "scheduler.deposed": "This scheduler is not the leader any more: holder, term.",
    "cron.fired": "A cron task fired: cron_id, firing, metadata_id (its task), due_ms (unix ms).",
}
"""Name of each event, when it happens, and its fields. Ids are those of the records."""

Subscriber: TypeAlias = Callable[[str, Mapping[str, Any]], object]


class EventBus:
    """Takes events to subscribers. All methods may be called from any thread.

    `bus` in this module is the process's own; a test may make another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Replaced, never changed: `emit` reads it without a lock.
        self._subscribers: dict[str, tuple[Subscriber, ...]] = {}

    def subscribe(self, name: str, subscriber: Subscriber) -> Callable[[], None]:
        """Call ``subscriber(name, fields)`` for each event of that name from now on.

        ``name`` may be a prefix that ends with a dot, such as ``"task."``; ``""`` means all
        events. Returns a function that ends the subscription (once; later calls do nothing).
        Raises InvalidArgument if no event is meant.
        """
        names = [
            event
            for event in EVENTS
            if event == name or not name or (name.endswith(".") and event.startswith(name))
        ]
        if not names:
            raise InvalidArgument("event", name, f"known events: {', '.join(EVENTS)}")

        def entry(event: str, fields: Mapping[str, Any]) -> None:
            subscriber(event, fields)  # a function of its own: subscribing twice is two entries

        with self._lock:
            changed = dict(self._subscribers)
            for event in names:
                changed[event] = (*changed.get(event, ()), entry)
            self._subscribers = changed

        def unsubscribe() -> None:
            with self._lock:
                kept = {
                    event: tuple(other for other in entries if other is not entry)
                    for event, entries in self._subscribers.items()
                }
                self._subscribers = {event: entries for event, entries in kept.items() if entries}

        return unsubscribe

    def wants(self, name: str) -> bool:
        """Return whether anybody listens to ``name``. Ask it before computing costly fields."""
        return name in self._subscribers

    def emit(self, name: str, /, **fields: Any) -> None:
        """Tell the subscribers of ``name``. Without any this is one lookup. Never raises."""
        entries = self._subscribers.get(name)
        if entries is None:
            return
        for entry in entries:
            try:
                entry(name, fields)
            except Exception:  # noqa: BLE001 - telemetry never harms what it reports
                _log.exception("a subscriber of %s failed", name)


bus: Final = EventBus()
subscribe: Final = bus.subscribe
emit: Final = bus.emit
wants: Final = bus.wants
