"""Tasks whose deadline is over end, also those that no runner has."""

from __future__ import annotations

from collections.abc import Callable

from mqtasks.model import Leadership
from mqtasks.service import TaskService


class Expirer:
    """Ends tasks in batches; one step works until no deadline is over any more.

    For one thread. What a runner holds is ended there, and sooner.
    """

    def __init__(
        self,
        service: TaskService,
        leadership: Callable[[], Leadership | None],
        *,
        batch: int = 500,
        poll: float = 1.0,
    ) -> None:
        """Look each ``poll`` seconds, at ``batch`` deadlines in one transaction."""
        self._service = service
        self._leadership = leadership
        self._batch = batch
        self._poll = poll
        self.expired = 0
        """Tasks ended so far."""

    def run_once(self) -> float:
        """End what is over; return seconds until the next look.

        Does nothing on a standby. Raises StorageError.
        """
        while self._leadership() is not None:
            ended = self._service.storage.expire_due(self._batch)
            self.expired += len(ended)
            if ended:
                self._service.hint_ended(ended)
            if len(ended) < self._batch:
                break
        return self._poll
