"""Names of every Redis key and channel: an interface for monitoring tools.

All names of a namespace share the literal hash tag ``{namespace}``, so that a Redis Cluster keeps
them on one node. ``docs/reference/redis-keys.md`` documents them for people.
"""

from __future__ import annotations

import re
from typing import Final

from mqtasks.errors import InvalidArgument

DEFAULT_NAMESPACE: Final = "default"

_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Keys:
    """The key layout of one namespace. Immutable; safe to share between threads.

    ``namespace`` is 1 to 64 of the characters ``A-Z a-z 0-9 _ . -``; anything else raises
    InvalidArgument. So does a runner id that is empty or contains control characters; every other
    character of it goes into the key as it is.
    """

    __slots__ = (
        "created",
        "cron",
        "ended",
        "events",
        "listener",
        "namespace",
        "prefix",
        "runner_prefix",
        "sentinel",
        "stats",
        "waiting",
    )

    def __init__(self, namespace: str = DEFAULT_NAMESPACE) -> None:
        if not _NAMESPACE.match(namespace):
            raise InvalidArgument(
                "namespace", namespace, "use 1 to 64 letters, digits, '_', '.' or '-'"
            )
        self.namespace: Final = namespace
        self.prefix: Final = f"mqtasks:{{{namespace}}}:"
        self.runner_prefix: Final = f"{self.prefix}runner:"
        self.stats: Final = f"{self.prefix}stats"
        """Hash: the leader's snapshot."""
        self.sentinel: Final = f"{self.prefix}sentinel"
        """String: random; its loss shows that the server lost or dropped data."""
        self.created: Final = f"{self.prefix}created"
        """Channel: there is something to allocate."""
        self.events: Final = f"{self.prefix}events"
        """Channel: what happened to tasks."""
        self.cron: Final = f"{self.prefix}cron"
        """Channel: cron definitions changed."""
        self.waiting: Final = f"{self.prefix}waiting"
        """Channel: somebody waits for tasks to end."""
        self.ended: Final = f"{self.prefix}ended"
        """Channel: tasks have ended; published only while somebody waits."""
        self.listener: Final = f"{self.prefix}listener"
        """Channel: nothing is ever published; each listening process subscribes to it."""

    def runner(self, runner_id: str) -> str:
        """Return the key of a runner's heartbeat hash."""
        return f"{self.runner_prefix}{_checked(runner_id)}"

    def heartbeat(self, task_id: int) -> str:
        """Return the key of a task's heartbeat; its value is ``runner:epoch``."""
        return f"{self.prefix}hb:{task_id}"

    def allocated(self, runner_id: str) -> str:
        """Return the channel that tells a runner that it has been allocated something."""
        return f"{self.prefix}allocated:{_checked(runner_id)}"

    def revoked(self, runner_id: str) -> str:
        """Return the channel that tells a runner that tasks were taken from it."""
        return f"{self.prefix}revoked:{_checked(runner_id)}"

    @property
    def runner_pattern(self) -> str:
        """The glob that SCAN matches runner keys with; a namespace holds no glob characters."""
        return f"{self.runner_prefix}*"

    def __repr__(self) -> str:
        return f"Keys({self.namespace!r})"


def _checked(runner_id: str) -> str:
    if not runner_id or _CONTROL.search(runner_id):
        raise InvalidArgument(
            "runner_id", runner_id, "must not be empty or contain control characters"
        )
    return runner_id
