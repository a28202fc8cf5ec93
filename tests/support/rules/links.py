"""Random links between tasks."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from mqtasks.model import FailurePolicy, NewTask
from tests.support.links import resolve
from tests.support.rules.base import (
    NAMES,
    Comparison,
    beliefs,
    metadata,
    some_names,
    writers,
)

names = st.sampled_from([*NAMES, *NAMES, "never stored"])
tasks = st.builds(
    NewTask,
    metadata,
    after=st.lists(names, max_size=3).map(tuple),
    on_failure=st.sampled_from(FailurePolicy),
    child_of=st.sampled_from(["", "", *NAMES]),
)


class LinkRules(Comparison):
    """Tasks wait for others, some of which there are, and are let go."""

    @rule(batch=st.lists(tasks, min_size=1, max_size=5))
    def create_linked(self, batch: list[NewTask]) -> None:
        self.do(lambda side: side.storage.create_tasks(batch))

    @rule(
        runner=writers,
        parents=some_names,
        belief=beliefs,
        batch=st.lists(tasks, min_size=1, max_size=3),
    )
    def create_children(self, runner, parents, belief, batch) -> None:
        owner, parents = self.writer(runner, parents)
        owners = self.epochs(parents, belief)
        self.do(
            lambda side: [side.storage.create_children(owner, item, batch) for item in owners(side)]
        )

    @rule(limit=st.sampled_from([1, 2, 500]))
    def resolve(self, limit: int) -> None:
        self.do(lambda side: resolve(side.storage, limit))
