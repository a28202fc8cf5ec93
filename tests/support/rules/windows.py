"""Random unique windows."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from mqtasks.model import NewTask
from tests.support.rules.base import Comparison, metadata

KEYS = [letter.encode() * 32 for letter in "abc"]
windows = st.builds(
    NewTask,
    metadata,
    unique_key=st.sampled_from(KEYS),
    unique_ms=st.sampled_from([1, 5_000, 60_000]),
)
plain = st.builds(NewTask, metadata)


class WindowRules(Comparison):
    """Calls that are the same are made, and made again after a while."""

    @rule(batch=st.lists(st.one_of(windows, windows, plain), min_size=1, max_size=5))
    def create_unique(self, batch: list[NewTask]) -> None:
        self.do(lambda side: side.storage.create_tasks(batch))

    @rule(limit=st.sampled_from([1, 2, 100]))
    def prune_windows(self, limit: int) -> None:
        self.do(lambda side: side.storage.prune_windows(limit))
