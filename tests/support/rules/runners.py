"""Random operations on runner rows."""

from __future__ import annotations

from functools import partial

from hypothesis import strategies as st
from hypothesis.stateful import rule

from mqtasks.model import (
    RunnerRecord,
    RunnerState,
    TaskEpoch,
)
from mqtasks.storage.contract import (
    Renewal,
)
from tests.support.comparing import Side
from tests.support.rules.base import (
    LEASE_MS,
    NAMES,
    RUNNERS,
    Comparison,
    beliefs,
    registered,
    some_names,
    usually,
)


class RunnerRules(Comparison):
    """Register, renew, stop, fence, rescue, absolve, forget."""

    @rule(
        runner=registered,
        holder=st.sampled_from(["one", "one", "two"]),
        crashes=st.integers(0, 3),
    )
    def register(self, runner: str, holder: str, crashes: int) -> None:
        record = RunnerRecord(id=runner, holder=holder, labels={"zone": "a"}, cpu=0.5)
        self.do(lambda side: side.storage.register_runner(record, LEASE_MS, crashes))

    @rule(stale=beliefs)
    def renew_runners(self, stale: int) -> None:
        renewals = [Renewal(name, self.generation(name, stale)) for name in RUNNERS]
        self.do(lambda side: side.storage.renew_runners(renewals, LEASE_MS))

    @rule(runner=registered, stale=beliefs, state=st.sampled_from(RunnerState))
    def set_runner_state(self, runner, stale, state) -> None:
        generation = self.generation(runner, stale)
        self.do(lambda side: side.storage.set_runner_state(runner, generation, state))

    @rule(runner=registered, stale=beliefs, names=some_names, crashes=st.integers(0, 2))
    def report_dead(self, runner, stale, names, crashes) -> None:
        generation = self.generation(runner, stale)
        tasks = self.epochs(names, 0)
        self.do(lambda side: side.storage.report_dead(runner, generation, tasks(side), crashes))

    @rule(
        runner=registered, stale=beliefs, crashes=st.integers(0, 2), late=usually, leading=usually
    )
    def fence_lapsed(self, runner, stale, crashes, late, leading) -> None:
        generation = self.generation(runner, stale)
        self.clock.advance(16 if late else 0)
        self.lead(leading)
        self.do(
            lambda side: side.storage.fence_lapsed(self.leadership, runner, generation, crashes)
        )

    @rule(
        runner=st.sampled_from(["foreign", *RUNNERS]),
        crashes=st.integers(0, 2),
        silent_ms=st.sampled_from([0, 10_000]),
        spared=st.lists(st.sampled_from(NAMES), max_size=2),
        seconds=st.sampled_from([0, 1, 11]),
        leading=usually,
    )
    def rescue_orphans(self, runner, crashes, silent_ms, spared, seconds, leading) -> None:
        self.clock.advance(seconds)
        self.lead(leading)
        self.do(
            lambda side: side.storage.rescue_orphans(
                self.leadership, runner, crashes, silent_ms, [side.id_of(name) for name in spared]
            )
        )

    @rule(belief=beliefs)
    def absolve(self, belief) -> None:
        attempts = [
            (item.metadata.id, attempt)
            for item in self.pair.model.query()
            for attempt in self.pair.model.attempts(item.id)
        ]
        for runner in RUNNERS:
            known = [
                (name, item.epoch + belief) for name, item in attempts if item.runner == runner
            ]
            self.do(partial(_absolve, runner, known))

    @rule(stopped_for_ms=st.sampled_from([0, 10_000]))
    def forget_runners(self, stopped_for_ms: int) -> None:
        self.do(lambda side: side.storage.forget_runners(stopped_for_ms))


def _absolve(runner: str, charged: list[tuple[str, int]], side: Side) -> int:
    tasks = [TaskEpoch(side.id_of(name), epoch) for name, epoch in charged]
    return side.storage.absolve(runner, tasks)
