"""The tasks that cron definitions make, and what a definition must be to make them."""

from __future__ import annotations

from msgspec.structs import replace

from mqtasks.cron import CronSchedule
from mqtasks.cron.decide import jitter_ms
from mqtasks.errors import InvalidArgument
from mqtasks.model import CronTask, NewTask


def check_definition(cron: CronTask) -> None:
    """Raise InvalidCron or InvalidArgument for what could not fire."""
    cron.metadata.validate()
    CronSchedule.parse(cron.cron_expr, cron.timezone)
    cron.policy.validate()
    if _needs_key(cron) and cron.metadata.options.concurrency_key:
        raise InvalidArgument(
            "options.concurrency_key",
            cron.metadata.options.concurrency_key,
            "is what the policy uses to bound how many run at once: leave it out, or give the"
            " limit as key_concurrency with overlap 'allow' or 'skip' and concurrency 0",
        )


def task_of(cron: CronTask, task_id: str, fire_time: int) -> NewTask:
    """Return the task of one firing, due at ``fire_time`` (unix ms) and its jitter."""
    metadata = replace(cron.metadata, id=task_id)
    if _needs_key(cron):
        # The exact limit there is: what may not run yet waits to be allocated.
        limited = replace(
            metadata.options,
            concurrency_key=f"cron:{cron.id}",
            key_concurrency=cron.policy.at_once,
        )
        metadata = replace(metadata, options=limited)
    due = fire_time + jitter_ms(cron.metadata.id, fire_time, cron.policy.jitter)
    return NewTask(metadata, cron.metadata.id, due)


def _needs_key(cron: CronTask) -> bool:
    policy = cron.policy
    return policy.overlap == "queue_one" or (policy.overlap == "allow" and policy.concurrency > 0)
