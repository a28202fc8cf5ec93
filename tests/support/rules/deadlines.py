"""Random ends by deadline."""

from __future__ import annotations

from hypothesis.stateful import rule

from mqtasks.storage.deadlines import LIVE_MS
from tests.support.rules.base import Comparison


class DeadlineRules(Comparison):
    """Deadlines are looked at now and then."""

    @rule()
    def expire(self) -> None:
        # A storage may look at one sooner than it has to, but at none later than this.
        self.clock.advance(LIVE_MS / 1000 + 0.001)
        self.do(lambda side: side.names_of(side.storage.expire_due(1000)))
