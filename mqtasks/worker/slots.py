"""News for the allocator: this runner, or a limit, has room again, or a task was given back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from mqtasks.model import DEFAULT_OPTIONS
from mqtasks.worker.held import Held, Holdings
from mqtasks.worker.outcome import Failed, Released

_SOON_MS: Final = 1_000
"""A retry that is due before then would else be found by the next poll, which is as far away."""


class SlotNews:
    """Announces room after a commit, but only where its lack may have kept a task waiting.

    ``announce()`` sends a hint to the scheduler; it merges calls.
    """

    def __init__(self, holdings: Holdings, parallelism: int, announce: Callable[[], None]) -> None:
        self._holdings = holdings
        self._parallelism = parallelism
        self._announce = announce

    def committed(self, helds: Sequence[Held]) -> None:
        """Look at tasks whose end was just committed, and announce the room they leave."""
        was_full = len(self._holdings) + len(helds) >= self._parallelism
        if was_full or any(map(_tells, helds)):
            self._announce()


def _tells(held: Held) -> bool:
    """Return whether a task has kept others waiting by what it held, or waits again itself."""
    outcome = held.outcome
    if isinstance(outcome, Released):
        return True
    if isinstance(outcome, Failed) and outcome.delay_ms is not None and outcome.delay_ms < _SOON_MS:
        return True
    options = held.task.metadata.options
    if options is DEFAULT_OPTIONS:
        return False
    return bool(
        options.concurrency
        or options.concurrency_key
        or options.cpu
        or options.memory
        or options.resources
    )
