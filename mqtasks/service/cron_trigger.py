"""Triggering cron tasks: one firing per fire time, for any number of schedulers (G8, P12).

A trigger is one transaction in storage: the definition advances by one firing and the task
``"<cron id>:<n>"`` is inserted, if and only if nobody triggered or edited it meanwhile. Who calls
`run_once`, and how often, is therefore a matter of latency alone.

What was missed while nobody triggered: firings of the last CATCH_UP_MS are each made up for; of
an older gap only the last firing is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from mqtasks.clock import Clock
from mqtasks.coordination.base import Notifier, Subscription
from mqtasks.cron import CronSchedule
from mqtasks.errors import InvalidCron
from mqtasks.loop import Loop
from mqtasks.model import CronTask, NewTask, TaskMetadata, firing_id
from mqtasks.storage.contract import TaskStorage, Trigger

logger = logging.getLogger("mqtasks.cron")

CATCH_UP_MS: Final = 60_000
"""How far back missed firings are made up for one by one, in milliseconds."""
TRIGGERS_PER_TRANSACTION: Final = 500
POLL_SECONDS: Final = 3.0
"""A definition added by somebody whose hint was lost is seen after this long at the latest."""


class CronTrigger:
    """The cron trigger step, and an optional thread around it. Safe to use from many threads."""

    def __init__(
        self, storage: TaskStorage, hint_created: Callable[[], None], clock: Clock
    ) -> None:
        """Trigger definitions of ``storage``; ``hint_created`` is called after each commit."""
        self._storage = storage
        self._hint_created = hint_created
        self._clock = clock
        self._schedules: dict[tuple[str, str], CronSchedule] = {}
        self._loop: Loop | None = None
        self._subscription: Subscription | None = None

    def add(self, metadata: TaskMetadata, cron_expr: str, timezone: str) -> bool:
        """Store a definition; return whether it was new."""
        metadata.validate()
        schedule = CronSchedule.parse(cron_expr, timezone)
        cron = CronTask(
            metadata=metadata,
            cron_expr=cron_expr,
            timezone=timezone,
            next_time=schedule.next_after(self._storage.now_ms()),
        )
        return self._storage.add_cron_task(cron) == 1

    def run_once(self) -> float | None:
        """Trigger whatever is due; return seconds until the next firing, None without any."""
        while True:
            due = self._storage.due_cron(TRIGGERS_PER_TRANSACTION)
            if not due:
                break
            now = self._storage.now_ms()
            triggers = [trigger for cron in due if (trigger := self._trigger(cron, now))]
            applied = self._storage.trigger_many(triggers) if triggers else []
            if any(applied):
                self._hint_created()
            if len(triggers) < len(due):
                break  # definitions that cannot be read stay due; do not spin on them
        upcoming = self._storage.next_cron_in_ms()
        return None if upcoming is None else max(0.0, upcoming / 1000)

    def start(self, notifier: Notifier, channel: str) -> None:
        """Run the step in a thread, woken by hints on ``channel`` and at the next due time."""
        if self._loop is not None:
            return
        loop = Loop("cron", self._step, POLL_SECONDS, clock=self._clock)
        loop.start()
        self._loop = loop
        self._subscription = notifier.subscribe([channel], lambda *_: loop.wake(), loop.wake)

    def stop(self) -> None:
        """Stop the thread, if any."""
        loop, self._loop = self._loop, None
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()
        if loop is not None:
            loop.stop()

    def _step(self) -> float | None:
        upcoming = self.run_once()
        return None if upcoming is None else min(upcoming, POLL_SECONDS)

    def _trigger(self, cron: CronTask, now: int) -> Trigger | None:
        try:
            schedule = self._schedule(cron)
            fire_time, next_time = _firing(schedule, cron.next_time, now)
        except InvalidCron as error:
            logger.error(  # noqa: TRY400 - the message is the whole story
                "cron task %r is not triggered: %s", cron.metadata.id, error
            )
            return None
        times = cron.trigger_times + 1
        metadata = msgspec.structs.replace(cron.metadata, id=firing_id(cron.metadata.id, times))
        return Trigger(cron, next_time, NewTask(metadata, cron.metadata.id, fire_time))

    def _schedule(self, cron: CronTask) -> CronSchedule:
        key = (cron.cron_expr, cron.timezone)
        schedule = self._schedules.get(key)
        if schedule is None:
            if len(self._schedules) > 20_000:  # noqa: PLR2004 - more than any site's definitions
                self._schedules.clear()
            schedule = self._schedules[key] = CronSchedule.parse(*key)
        return schedule


def _firing(schedule: CronSchedule, due: int, now: int) -> tuple[int, int]:
    """Return the fire time to make up for, and the one after it."""
    if now - due > CATCH_UP_MS:
        # Collapse the old gap into its last firing before the window of single ones.
        candidate = schedule.next_after(now - CATCH_UP_MS)
        if candidate > now:
            return due, candidate
        due = candidate
    return due, schedule.next_after(due)
