"""Tasks that wait for others begin, or end, when those have ended (S12).

Storage looks at states, never at events: a step that was lost with its scheduler is simply made by
the next one, and two schedulers may make it at once. Hints only say when looking is worth while.
While something waits, runners are asked to tell what ends, as they are for whoever awaits a result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mqtasks.model import Leadership
from mqtasks.scheduler.cadence import Cadence
from mqtasks.service import TaskService

GAP: Final = 0.2
"""Seconds between two passes at least, while nothing waits: each is an index read."""
GAP_WAITING: Final = 0.02
"""... and while something does."""
_ASK_RUNNERS: Final = 3.0
"""Seconds between two hints that somebody waits; runners remember one for 10 s."""
_SHARE: Final = 4
"""A pass is followed by a pause this many times as long, so that passes take a fifth at most."""


class Resolver:
    """Settles dependencies, pass by pass. For one thread; durations are seconds."""

    def __init__(
        self,
        service: TaskService,
        leadership: Callable[[], Leadership | None],
        cadence: Cadence,
        *,
        poll: float = 1.0,
        batch: int = 500,
    ) -> None:
        """Look each ``poll`` while nothing waits; ``batch`` parents are looked at in a step."""
        self._service = service
        self._storage = service.storage
        self._now = service.clock.monotonic
        self._leadership = leadership
        self._cadence = cadence
        self._poll = poll
        self._batch = batch
        self._asked = float("-inf")
        self._rest = 0.0
        self.waiting = False
        """Whether something waited when it was last looked."""
        self.moved = False
        """Whether the last pass moved a task."""
        self.released = 0
        """Tasks that began to be due so far."""
        self.given_up = 0
        """Tasks that were canceled, or failed, because of a parent's end so far."""

    @property
    def gap(self) -> float:
        """How long hints are not listened to after a pass."""
        return max(self._rest, GAP_WAITING if self.waiting else GAP)

    def run_once(self) -> float:
        """Make one pass; return seconds until the next. Does nothing on a standby."""
        self.moved = False
        if self._leadership() is None:
            self.waiting = False
            return self._poll
        began, waited = self._now(), self.waiting
        self._pass()
        self._rest = _SHARE * (self._now() - began)
        if self.waiting:
            self._ask_runners()
        if self.moved:
            return self._rest  # what was moved may be a parent of others
        if not self.waiting:
            return self._poll
        if not waited:
            return max(self._rest, GAP_WAITING)  # what ended before runners were asked
        return max(self._rest, self._cadence.delay(worked=False, waiting=True))

    def _pass(self) -> None:
        """Look once at all parents that are waited for."""
        waiting = False
        start: int | None = 0
        while start is not None and self._leadership() is not None:
            step = self._storage.resolve_dependencies(start, self._batch)
            waiting = waiting or step.waiting
            ended = (*step.canceled, *step.failed)
            self.released += len(step.released)
            self.given_up += len(ended)
            if step.released:
                self._service.hint_created()
            if ended:
                self._service.hint_ended(ended)
            self.moved = self.moved or bool(step.released or ended)
            start = step.next_parent
        self.waiting = waiting

    def _ask_runners(self) -> None:
        now = self._now()
        if now - self._asked >= _ASK_RUNNERS:
            self._asked = now
            self._service.notifier.publish(self._service.keys.waiting)
