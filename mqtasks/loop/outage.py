"""What is logged of a step that fails again and again: enough to act on, and no line a second."""

from __future__ import annotations

import logging
from typing import Final

from mqtasks.errors import MQTasksError

REMIND_EVERY: Final = 30.0
"""Seconds between lines about one outage, at least."""


class OutageLog:
    """Logs the outages of one loop: each from its first failure to the next success.

    The first failure is a WARNING with its cause, and with a traceback unless the error is one of
    mqtasks' own, which say what is wrong. While failures go on, one WARNING per `REMIND_EVERY`
    seconds counts them; an INFO line tells that it is over. For one thread.
    """

    def __init__(self, name: str, log: logging.Logger) -> None:
        self._name = name
        self._log = log
        self._failures = 0
        self._began = 0.0
        self._logged = 0.0

    @property
    def failures(self) -> int:
        """How many failures the present outage has; 0 = there is none."""
        return self._failures

    def failed(self, error: Exception, now: float, retry_in: float) -> None:
        """Note a failure at ``now``, monotonic seconds; the next try is in ``retry_in`` seconds."""
        self._failures += 1
        if self._failures == 1:
            self._began = self._logged = now
            self._log.warning(
                "%s failed and is tried again, next in %.2f s: %s: %s",
                self._name,
                retry_in,
                type(error).__name__,
                error,
                exc_info=None if isinstance(error, MQTasksError) else error,
            )
        elif now - self._logged >= REMIND_EVERY:
            self._logged = now
            self._log.warning(
                "%s still fails, %d times in %.0f s: %s: %s",
                self._name,
                self._failures,
                now - self._began,
                type(error).__name__,
                error,
            )

    def succeeded(self, now: float) -> None:
        """Note a success at ``now``, monotonic seconds: the outage, if there is one, is over."""
        if self._failures:
            times = "1 failure" if self._failures == 1 else f"{self._failures} failures"
            self._log.info(
                "%s works again after %s in %.1f s", self._name, times, now - self._began
            )
            self._failures = 0
