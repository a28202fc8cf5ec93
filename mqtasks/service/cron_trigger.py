"""Triggering cron tasks: one firing per fire time, for any number of schedulers (G8, P12).

A trigger is one transaction in storage: the definition advances and the task ``"<cron id>:<n>"``
is inserted, if and only if nobody triggered or edited it meanwhile. Who calls `run_once`, and how
often, is therefore a matter of latency alone. What happens to firings that were missed, or that
overlap, is decided by `mqtasks.cron.decide`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from mqtasks.clock import Clock
from mqtasks.coordination.base import Notifier, Subscription
from mqtasks.cron import CronSchedule
from mqtasks.cron.decide import Decision, decide, first_time, looked_at
from mqtasks.errors import InvalidCron
from mqtasks.events import emit, wants
from mqtasks.loop import Loop
from mqtasks.model import CronTask, FiredTask, FiringState, firing_id
from mqtasks.service.cron_tasks import check_definition, task_of
from mqtasks.storage.contract import TaskStorage, Trigger

logger = logging.getLogger("mqtasks.cron")

TRIGGERS_PER_TRANSACTION: Final = 500
_UNREADABLE_SECONDS: Final = 1.0
POLL_SECONDS: Final = 3.0
"""A definition added by somebody whose hint was lost is seen after this long at the latest."""


class CronTrigger:
    """The cron trigger step, and an optional thread around it. Safe to use from many threads."""

    def __init__(
        self,
        storage: TaskStorage,
        hint_created: Callable[[], None],
        clock: Clock,
        cancel: Callable[..., object],
    ) -> None:
        """Trigger definitions of ``storage``; ``hint_created`` is called after each commit.

        ``cancel`` takes the ids of tasks to be canceled.
        """
        self._storage = storage
        self._hint_created = hint_created
        self._cancel = cancel
        self._clock = clock
        self._schedules: dict[tuple[str, str], CronSchedule] = {}
        self._loop: Loop | None = None
        self._subscription: Subscription | None = None

    def add(self, cron: CronTask) -> bool:
        """Store a definition, ``next_time`` put right; return whether it was new."""
        check_definition(cron)
        return self._storage.add_cron_task(self.timed(cron)) == 1

    def timed(self, cron: CronTask) -> CronTask:
        """Return a definition that fires next as its schedule and policy say, counted from now.

        Raises InvalidCron.
        """
        schedule = self.schedule(cron)
        return replace(cron, next_time=first_time(schedule, cron.policy, self._storage.now_ms()))

    def schedule(self, cron: CronTask) -> CronSchedule:
        """Return the parsed schedule of a definition. Raises InvalidCron."""
        key = (cron.cron_expr, cron.timezone)
        schedule = self._schedules.get(key)
        if schedule is None:
            if len(self._schedules) > 20_000:  # noqa: PLR2004 - more than any site's definitions
                self._schedules.clear()
            schedule = self._schedules[key] = CronSchedule.parse(*key)
        return schedule

    def run_once(self) -> float | None:
        """Trigger whatever is due; return seconds until the next firing, None without any.

        A look that finds nothing due is one query.
        """
        while True:
            upcoming = self._storage.next_cron_in_ms()
            if upcoming is None:
                return None
            if upcoming > 0:
                return upcoming / 1000
            due = self._storage.due_cron(TRIGGERS_PER_TRANSACTION)
            if due and not self._fire(due):
                return _UNREADABLE_SECONDS  # definitions that cannot be read stay due

    def _fire(self, due: Sequence[CronTask]) -> bool:
        """Trigger due definitions; return whether there was any that can be triggered."""
        earlier = self._earlier(due)
        now = self._storage.now_ms()
        triggers: list[Trigger] = []
        cancel: list[int] = []
        understood = False
        for cron in due:
            room = TRIGGERS_PER_TRANSACTION - len(triggers)
            if not room:
                break
            past = earlier.get(cron.metadata.id, ())
            try:
                decision = decide(self.schedule(cron), cron, now, past, room)
            except InvalidCron as error:
                logger.error(  # noqa: TRY400 - the message is the whole story
                    "cron task %r is not triggered: %s", cron.metadata.id, error
                )
                continue
            understood = True
            if decision.pause:
                self._pause(cron, decision.pause)
                continue
            cancel += decision.cancel
            triggers += _triggers(cron, decision)
        if cancel:
            # Before the firing: a crash in between leaves the definition due, and both are done.
            self._cancel(*cancel)
        applied = self._storage.trigger_many(triggers) if triggers else []
        if any(applied):
            self._hint_created()
            if wants("cron.fired"):
                _tell(trigger for trigger, done in zip(triggers, applied, strict=True) if done)
        return understood

    def _earlier(self, due: Sequence[CronTask]) -> dict[str, list[FiredTask]]:
        """Return what became of earlier firings, where that matters."""
        by_count: dict[int, list[CronTask]] = {}
        for cron in due:
            if count := looked_at(cron.policy):
                by_count.setdefault(count, []).append(cron)
        found: dict[str, list[FiredTask]] = {}
        for count, crons in by_count.items():
            found |= self._storage.fired_tasks(crons, count)
        return found

    def _pause(self, cron: CronTask, reason: str) -> None:
        if self._storage.edit_cron_task(replace(cron, paused=True, pause_reason=reason)):
            logger.warning("cron task %r is paused: %s", cron.metadata.id, reason)

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


def _tell(triggers: Iterable[Trigger]) -> None:
    for trigger in triggers:
        if trigger.task is not None:
            emit(
                "cron.fired",
                cron_id=trigger.cron.metadata.id,
                firing=trigger.cron.trigger_times + 1,
                metadata_id=trigger.task.metadata.id,
                due_ms=trigger.moment,
            )


def _triggers(cron: CronTask, decision: Decision) -> list[Trigger]:
    """Return the triggers a decision comes to, each with the row that the one before leaves."""
    triggers: list[Trigger] = []
    ends = [item.fire_time for item in decision.firings[1:]] + [decision.next_time]
    for firing, next_time in zip(decision.firings, ends, strict=True):
        times, task = cron.trigger_times, None
        if firing.state == FiringState.FIRED:
            times += 1
            task = task_of(cron, firing_id(cron.metadata.id, times), firing.fire_time)
        triggers.append(Trigger(cron, next_time, task, firing.fire_time, firing.state))
        cron = replace(cron, next_time=next_time, trigger_times=times)
    return triggers
