"""Cron tasks fire: the service's trigger step as a component.

Not for the leader only. Each trigger is conditional in storage (P12), so two schedulers that try
at once make one firing; that costs the loser a statement, and a dead leader delays nothing.
"""

from __future__ import annotations

from mqtasks.service import TaskService


class CronFirer:
    """Triggers due cron tasks; any number of schedulers may do so at the same time."""

    def __init__(self, service: TaskService, *, poll: float = 1.0) -> None:
        """Look for new definitions at least each ``poll`` seconds."""
        self._service = service
        self._poll = poll

    def run_once(self) -> float:
        """Trigger whatever is due; return seconds until the next firing, at most ``poll``."""
        upcoming = self._service.trigger_due_cron()
        return self._poll if upcoming is None else min(upcoming, self._poll)
