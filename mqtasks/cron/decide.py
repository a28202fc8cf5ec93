"""What a look at a due definition decides: which firings happen, and which are left out.

Pure: schedule, row, moment and earlier firings go in, triggers come out. Storage applies them only
if the row still is what was read (P12), so any number of schedulers may decide at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from mqtasks.errors import InvalidCron
from mqtasks.model import (
    NEVER,
    CronPolicy,
    CronTask,
    FiredTask,
    FiringState,
    TaskStatus,
)

ON_TIME_MS: Final = 60_000
"""A firing no later than this is not missed under ``skip``, milliseconds."""
LOOK_BACK: Final = 16
"""How many earlier firings are looked at, beside those that may run at once and those that count
as failures."""
_JITTER_STEPS: Final = 2**32


class Moments(Protocol):
    """What is asked of a schedule."""

    def next_after(self, ms: int) -> int:
        """Return the first moment strictly later than ``ms``; raises InvalidCron if none comes."""
        ...


class Firing(NamedTuple):
    """One moment of the schedule, and what becomes of it."""

    fire_time: int
    state: FiringState


class Decision(NamedTuple):
    """What a look decides. Times: unix ms."""

    firings: tuple[Firing, ...]
    """In order; the row's ``next_time`` moves on with each."""
    next_time: int
    """When to look again; `NEVER` if the schedule is over. A moment that is past already means
    that there is more to be made up for."""
    cancel: tuple[int, ...] = ()
    """Task ids to be canceled before the firing."""
    pause: str = ""
    """Why the definition is to be paused instead of all that; empty = it is not."""


def first_time(schedule: Moments, policy: CronPolicy, now: int) -> int:
    """Return when a definition fires first after ``now``; `NEVER` if it does not."""
    return _next(schedule, policy, max(now, policy.start_at - 1))


def looked_at(policy: CronPolicy) -> int:
    """Return how many earlier firings `decide` wants to know about; 0 = none."""
    if not policy.looks_back:
        return 0
    return LOOK_BACK + policy.concurrency + policy.pause_after_failures


def decide(
    schedule: Moments, cron: CronTask, now: int, earlier: Sequence[FiredTask], most: int
) -> Decision:
    """Decide what a definition that is due at ``now`` does; at most ``most`` firings at once.

    ``earlier`` is what became of earlier firings, the latest first. Raises InvalidCron.
    """
    policy = cron.policy
    reason = _too_many_failures(cron, earlier)
    if reason:
        return Decision((), cron.next_time, pause=reason)
    following = _next(schedule, policy, cron.next_time)
    if following > now and now - cron.next_time <= _window_ms(policy):
        times = [cron.next_time]  # nearly always: one look at the schedule for one firing
    else:
        following = _next(schedule, policy, now)
        times = _made_up_for(schedule, policy, cron.next_time, now)
    if not times:
        last = _latest(schedule, cron.next_time, min(now, policy.end_at or now), 1)
        # A row may be due at a moment that its schedule does not name; it moves on all the same.
        missed = tuple(Firing(at, FiringState.MISSED) for at in last or [cron.next_time])
        return Decision(missed, following)
    if len(times) > most:
        times, following = times[:most], times[most]
    states, cancel = _overlapping(policy, len(times), earlier)
    firings = tuple(Firing(at, state) for at, state in zip(times, states, strict=True))
    return Decision(firings, following, cancel)


def jitter_ms(cron_id: str, fire_time: int, jitter: float) -> int:
    """Return how long after its firing a task is due, ms: 0 to ``jitter`` (seconds).

    Always the same for one definition and moment; even over definitions and over moments.
    """
    if not jitter:
        return 0
    digest = hashlib.sha256(f"{cron_id}\0{fire_time}".encode()).digest()
    share = int.from_bytes(digest[:4]) / _JITTER_STEPS
    return round(share * jitter * 1000)


def _made_up_for(schedule: Moments, policy: CronPolicy, due: int, now: int) -> list[int]:
    """Return the moments from ``due`` to ``now`` that are not too late to be fired, in order."""
    until = min(now, policy.end_at or now)
    since = max(due, now - _window_ms(policy))
    return _latest(schedule, since, until, policy.misfire_limit if policy.misfire == "all" else 1)


def _window_ms(policy: CronPolicy) -> int:
    """Return how late a firing may be, ms; what is on time is no misfire, whatever is said."""
    window = 0 if policy.misfire == "skip" else round(policy.misfire_window * 1000)
    return max(window, ON_TIME_MS)


def _latest(schedule: Moments, since: int, until: int, most: int) -> list[int]:
    """Return the last ``most`` moments from ``since`` to ``until``, both included, in order.

    Looks back in spans that double, so that the work follows from how many are wanted, not from
    how long the outage was.
    """
    span = 1000
    while since <= until:
        begin = max(since, until - span + 1)
        found: list[int] = []
        at = _after(schedule, begin - 1)
        while at <= until:
            found.append(at)
            at = _after(schedule, at)
        if len(found) >= most or begin == since:
            return found[-most:]
        span *= 2
    return []


def _next(schedule: Moments, policy: CronPolicy, after: int) -> int:
    following = _after(schedule, after)
    return NEVER if policy.end_at and following > policy.end_at else following


def _after(schedule: Moments, ms: int) -> int:
    """As `CronSchedule.next_after`; `NEVER` for a schedule that has named its last moment."""
    try:
        return schedule.next_after(ms)
    except InvalidCron:
        return NEVER


def _overlapping(
    policy: CronPolicy, count: int, earlier: Sequence[FiredTask]
) -> tuple[list[FiringState], tuple[int, ...]]:
    """Return what becomes of ``count`` firings in a row, and which tasks they cancel."""
    fired, skipped = FiringState.FIRED, FiringState.SKIPPED
    if policy.overlap == "allow":
        return [fired] * count, ()
    unended = [task for task in earlier if not TaskStatus(task.status).is_final]
    if policy.overlap == "cancel_running":
        # Each of them would cancel the one before; of those that may run at once the last stay.
        made = min(count, policy.at_once)
        room = policy.at_once - made
        cancel = [
            task.task_id
            for task in sorted(unended, key=lambda task: -task.task_id)[room:]
            if task.status != TaskStatus.CANCEL_REQUESTED
        ]
        return [skipped] * (count - made) + [fired] * made, tuple(sorted(cancel))
    waiting = 1 if policy.overlap == "queue_one" else 0
    room = max(0, policy.at_once + waiting - len(unended))
    made = min(count, room)
    return [fired] * made + [skipped] * (count - made), ()


def _too_many_failures(cron: CronTask, earlier: Sequence[FiredTask]) -> str:
    most = cron.policy.pause_after_failures
    failures = 0
    for task in earlier if most else ():
        number = task.metadata_id.removeprefix(f"{cron.metadata.id}:")
        if not number.isdecimal() or int(number) <= cron.counted_from:
            continue  # a manual firing, or one from before the last resume
        if task.failed:
            failures += 1
        elif task.status == TaskStatus.COMPLETED:
            break
        if failures >= most:
            return f"its last {failures} tasks failed; the last is {earlier[0].metadata_id}"
    return ""
