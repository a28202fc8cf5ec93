"""Changing cron tasks while they run: edit, pause, trigger now, backfill, and look at firings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from mqtasks.errors import CronNotFound, InvalidArgument, PayloadTooLarge
from mqtasks.model import (
    CronFiring,
    CronPolicy,
    CronTask,
    FiringKind,
    FiringState,
    NewFiring,
    TaskMetadata,
    TaskOptions,
    changed_policy,
    extra_firing_id,
)
from mqtasks.service.cron_tasks import check_definition, task_of
from mqtasks.service.cron_trigger import TRIGGERS_PER_TRANSACTION, CronTrigger

if TYPE_CHECKING:
    from mqtasks.service.task_service import TaskService

MAX_BACKFILL: Final = 10_000
"""Moments that one backfill may have."""
_TRIES: Final = 20


class Backfill(msgspec.Struct, frozen=True):
    """What a backfill did, or would do."""

    moments: tuple[int, ...]
    """Moments of the schedule in the range that had not been fired, unix ms."""
    fired: int
    """How many tasks this call made; 0 in a dry run."""


class CronControl:
    """Changes of cron tasks at runtime. Part of `TaskService`; safe to use from many threads.

    Every change is committed, then hinted: schedulers act on it within a moment, without hints
    within their next poll. Methods that name a cron task raise CronNotFound if there is none.
    """

    def __init__(self, service: TaskService, trigger: CronTrigger) -> None:
        """Change what ``service`` stores; users do not call this."""
        self._service = service
        self._storage = service.storage
        self._trigger = trigger

    def get(self, cron_id: str) -> CronTask:
        """Return one cron task."""
        found = self._storage.find_cron_task(cron_id)
        if found is None:
            raise CronNotFound(cron_id)
        return found

    def create(
        self, metadata: TaskMetadata, cron_expr: str, timezone: str = "UTC", **policy: Any
    ) -> bool:
        """As `TaskService.create_cron_task`; ``policy`` are fields of `CronPolicy`.

        Of these ``start_at`` and ``end_at`` may be aware datetimes, what lasts a timedelta.
        """
        chosen = policy_from(CronPolicy(), policy)
        return self._service.create_cron_task(metadata, cron_expr, timezone, chosen)

    def add(self, cron: CronTask) -> bool:
        """Store a whole definition, its next firing put right; return whether it was new.

        Raises InvalidCron, InvalidArgument, PayloadTooLarge.
        """
        size, limit = len(cron.metadata.context), self._service.max_payload_bytes
        if size > limit:
            raise PayloadTooLarge(f"context of cron {cron.metadata.id!r}", size, limit)
        added = self._trigger.add(cron)
        if added:
            self._service.hint_cron()
        return added

    def edit(
        self,
        cron_id: str,
        *,
        version: int | None = None,
        cron_expr: str | None = None,
        timezone: str | None = None,
        executor: int | str | None = None,
        context: bytes | None = None,
        options: TaskOptions | None = None,
        **policy: Any,
    ) -> CronTask:
        """Change a cron task; return it as stored. What is not given stays.

        With ``version``, that of the row the change was made for, somebody else's edit in between
        is not overwritten: raises InvalidArgument. ``policy`` as in `create`. The next firing is
        computed anew if the schedule or its bounds change. A definition that is declared in code
        keeps the edit until the declaration itself changes. Raises InvalidCron, InvalidArgument,
        PayloadTooLarge.
        """
        limit = self._service.max_payload_bytes
        if context is not None and len(context) > limit:
            raise PayloadTooLarge(f"context of cron {cron_id!r}", len(context), limit)
        given = {"executor": executor, "context": context, "options": options}
        said = {name: value for name, value in given.items() if value is not None}

        def change(cron: CronTask) -> CronTask:
            if version is not None and cron.version != version:
                why = f"is not the stored version, {cron.version}: look at it again, then edit"
                raise InvalidArgument("version", version, why)
            return replace(
                cron,
                metadata=replace(cron.metadata, **said),
                cron_expr=cron.cron_expr if cron_expr is None else cron_expr,
                timezone=cron.timezone if timezone is None else timezone,
                policy=policy_from(cron.policy, policy),
            )

        return self.change(cron_id, change)

    def change(self, cron_id: str, change: Callable[[CronTask], CronTask]) -> CronTask:
        """Store what ``change`` makes of a cron task; it is called again if others edit, too.

        The next firing is computed anew if the schedule or its bounds change.
        """
        for _ in range(_TRIES):
            cron = self.get(cron_id)
            changed = change(cron)
            if changed == cron:
                return cron
            check_definition(changed)
            if _times(changed) != _times(cron):
                changed = self._trigger.timed(changed)
            if self._storage.edit_cron_task(changed):
                self._service.hint_cron()
                return self.get(cron_id)
        raise InvalidArgument("cron", cron_id, "is edited by others all the time; try again")

    def pause(self, cron_id: str, reason: str = "") -> bool:
        """Let a cron task fire no more until `resume`; False if it is paused already."""
        return self._service.control.pause("cron", cron_id, reason)

    def resume(self, cron_id: str) -> bool:
        """Let a paused cron task fire again; False if it is not paused.

        What was missed meanwhile follows its misfire policy; earlier failures do not count any
        more.
        """
        return self._service.control.resume("cron", cron_id)

    def delete(self, cron_id: str) -> bool:
        """Delete a cron task; tasks that it has made stay. False if there is none."""
        return self._service.delete_cron_task(cron_id)

    def trigger(self, cron_id: str) -> str:
        """Fire now, beside the schedule; return the metadata id of the task.

        Also if it is paused, and whatever runs: asking is taken at its word. Later firings of the
        schedule see the task as one that has not ended, for a day. Each call makes a task.
        """
        moment = self._storage.now_ms()
        for _ in range(_TRIES):
            cron = self.get(cron_id)
            firing = _extra(cron, FiringKind.MANUAL, moment)
            if self._storage.add_firings(cron, FiringKind.MANUAL, [firing]) == [True]:
                self._service.hint_created()
                return firing.task_metadata.id
            moment += 1  # somebody asks in the same millisecond, or edits
        raise InvalidArgument("cron", cron_id, "is triggered by others all the time; try again")

    def backfill(
        self, cron_id: str, since: datetime | int, until: datetime | int, *, dry_run: bool = False
    ) -> Backfill:
        """Fire for the moments of the schedule from ``since`` to ``until``, both included.

        Aware datetimes, or unix ms. Left out are moments that the schedule has fired, as far as
        they are still recorded, and those of earlier backfills; so it may be called again. All
        tasks are due at once, whatever the overlap policy; one limit there is: at most 10,000
        moments. ``dry_run`` only tells them. Raises InvalidArgument.
        """
        first, last = moment_ms("since", since), moment_ms("until", until)
        now = self._storage.now_ms()
        if last > now:
            raise InvalidArgument("until", until, "is in the future: the schedule sees to that")
        if first > last:
            raise InvalidArgument("since", since, "must not be after until")
        cron = self.get(cron_id)
        moments = self._open_moments(cron, first, last)
        fired = 0
        for start in range(0, 0 if dry_run else len(moments), TRIGGERS_PER_TRANSACTION):
            part = moments[start : start + TRIGGERS_PER_TRANSACTION]
            firings = [_extra(cron, FiringKind.BACKFILL, at) for at in part]
            fired += sum(self._storage.add_firings(cron, FiringKind.BACKFILL, firings))
        if fired:
            self._service.hint_created()
        return Backfill(tuple(moments), fired)

    def firings(self, cron_id: str, limit: int = 20) -> list[CronFiring]:
        """Return recorded firings of all kinds, the latest first.

        Records are kept as long as failed tasks are.
        """
        self.get(cron_id)
        found = [
            firing
            for kind in FiringKind
            for firing in self._storage.cron_firings(cron_id, limit, kind)
        ]
        found.sort(key=lambda firing: (firing.fired_at, firing.fire_time), reverse=True)
        return found[:limit]

    def _open_moments(self, cron: CronTask, first: int, last: int) -> list[int]:
        schedule = self._trigger.schedule(cron)
        moments: list[int] = []
        at = schedule.next_after(first - 1)
        while at <= last:
            moments.append(at)
            if len(moments) > MAX_BACKFILL:
                why = f"has more than {MAX_BACKFILL} moments: ask for it in parts"
                raise InvalidArgument("range", f"{first} to {last}", why)
            at = schedule.next_after(at)
        fired = {
            item.fire_time
            for kind in (FiringKind.SCHEDULED, FiringKind.BACKFILL)
            for item in self._storage.cron_firings(cron.metadata.id, MAX_BACKFILL, kind, last)
            if item.state == FiringState.FIRED
        }
        return [at for at in moments if at not in fired]


def policy_from(base: CronPolicy, changes: Mapping[str, Any]) -> CronPolicy:
    """Return a policy with other values, times and durations as people write them.

    Raises InvalidArgument.
    """
    given = dict(changes)
    for name, value in given.items():
        if isinstance(value, datetime):
            given[name] = moment_ms(f"policy.{name}", value)
        elif isinstance(value, timedelta):
            given[name] = value.total_seconds()
    return changed_policy(base, given)


def moment_ms(field: str, value: datetime | int) -> int:
    """Return an aware datetime as unix ms; raises InvalidArgument for a naive one."""
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise InvalidArgument(field, value, "must be aware: add tzinfo, for example UTC")
    return int(value.timestamp() * 1000)


def _extra(cron: CronTask, kind: FiringKind, moment: int) -> NewFiring:
    task = task_of(cron, extra_firing_id(cron.metadata.id, kind, moment), moment)
    return NewFiring(moment, task.metadata, 0 if kind is FiringKind.MANUAL else task.run_at)


def _times(cron: CronTask) -> tuple[Any, ...]:
    return cron.cron_expr, cron.timezone, cron.policy.start_at, cron.policy.end_at
