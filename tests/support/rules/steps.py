"""Random steps of tasks."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from mqtasks.model import StepRecord
from tests.support.rules.base import Comparison, beliefs, some_names, writers


class StepRules(Comparison):
    """Workers, and those who believe that they still are, store steps."""

    @rule(
        runner=writers,
        names=some_names,
        belief=beliefs,
        name=st.sampled_from(["load", "Load", "send"]),
        number=st.integers(1, 3),
        value=st.sampled_from([b"", b"1", b"2"]),
    )
    def save_step(self, runner, names, belief, name, number, value) -> None:
        owner, names = self.writer(runner, names)
        tasks = self.epochs(names, belief)
        step = StepRecord(name, number, 0, 0, value)
        self.do(lambda side: [side.storage.save_step(owner, item, step) for item in tasks(side)])
