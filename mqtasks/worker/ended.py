"""News for those who wait: tasks of this runner have ended. Sent only while somebody waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from mqtasks.worker.held import Held
from mqtasks.worker.outcome import Failed, Released

REMEMBER: Final = 10.0
"""Seconds for which it is remembered that somebody waits."""


class EndedNews:
    """Announces ended tasks after a commit. ``announce(task_ids)`` must not block."""

    def __init__(self, now: Callable[[], float], announce: Callable[[Sequence[int]], None]) -> None:
        self._now = now
        self._announce = announce
        self._until = float("-inf")

    def awaited(self) -> None:
        """Note that somebody waits. Safe from any thread."""
        self._until = self._now() + REMEMBER

    def committed(self, helds: Sequence[Held], canceled: Sequence[int] = ()) -> None:
        """Announce those whose committed outcome is an end, and those canceled instead."""
        if self._now() >= self._until:
            return
        instead = frozenset(canceled)
        ended = [held.task_id for held in helds if _is_end(held) or held.task_id in instead]
        if ended:
            self._announce(ended)


def _is_end(held: Held) -> bool:
    outcome = held.outcome
    if isinstance(outcome, Failed):
        return outcome.delay_ms is None
    return not isinstance(outcome, Released)
