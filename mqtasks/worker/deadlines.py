"""What a deadline does to tasks that a runner holds."""

from __future__ import annotations

from msgspec.structs import replace

from mqtasks.model import AttemptOutcome
from mqtasks.storage.deadlines import cause, moment
from mqtasks.worker.held import Cancel, Held, Phase
from mqtasks.worker.outcome import Failed


def expire(held: Held) -> None:
    """End a task whose deadline was over before it started."""
    held.phase = Phase.ENDED
    held.cancel_reason = Cancel.DEADLINE
    held.outcome = Failed(cause(held.task.deadline), "", AttemptOutcome.TIMED_OUT)


def too_late(held: Held) -> str:
    """Return what is said of a task that its deadline has ended, or keeps from starting."""
    if held.phase < Phase.EXECUTING:
        return cause(held.task.deadline)
    return f"deadline of {moment(held.task.deadline)} passed while it ran"


def in_time(held: Held, failed: Failed, now: float) -> Failed:
    """Return how an attempt ends whose task has a deadline: for good, if it could not run again."""
    delay_ms = failed.delay_ms
    if delay_ms is None or not held.expires or now + delay_ms / 1000 < held.expires:
        return failed
    why = f"its next run would be after its deadline of {moment(held.task.deadline)}"
    kind = failed.kind
    if kind is AttemptOutcome.SNOOZED:
        kind = AttemptOutcome.TIMED_OUT  # a snooze ends nothing
    text = f"{failed.error}; {why}" if failed.error else why
    return replace(failed, error=text, kind=kind, delay_ms=None)
