"""How often to look for work, when hints say it and when they do not."""

from __future__ import annotations

from typing import Final

from mqtasks.coordination.local import LocalNotifier
from mqtasks.service import TaskService

_SLOWER: Final = 1.5


class Cadence:
    """The delay after a pass: short while there is work, growing while there is none.

    Hints are trusted to come if they reach every process that shares the storage: through Redis,
    or because there is one process, or because a change counter is watched (SQLite).
    """

    def __init__(
        self, service: TaskService, *, safety_poll: float, fast_poll: float, slow_poll: float
    ) -> None:
        """Take the polls, in seconds, from the scheduler's options."""
        self._notifier = service.notifier
        capabilities = service.storage.capabilities
        self._complete = (
            not isinstance(service.notifier, LocalNotifier)
            or not capabilities.cross_process
            or capabilities.change_counter
        )
        self._safety_poll = safety_poll
        self._fast_poll = fast_poll
        self._slow_poll = slow_poll
        self._delay = fast_poll

    def hinted(self) -> bool:
        """Return whether hints from everywhere arrive at present."""
        return self._complete and self._notifier.healthy()

    def delay(self, *, worked: bool, waiting: bool = False) -> float:
        """Return the seconds until the next pass, unless a hint comes sooner.

        ``worked``: this pass did something. ``waiting``: tasks are left that nobody has room for;
        then even hints are not relied on for long, because the one that tells of room may be lost.
        """
        if self.hinted():
            self._delay = self._fast_poll
            return self._slow_poll if waiting else self._safety_poll
        delay = self._fast_poll if worked else self._delay
        self._delay = min(delay * _SLOWER, self._slow_poll)
        return delay
