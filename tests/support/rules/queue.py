"""Random operations of schedulers and workers."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from mqtasks.model import AttemptOutcome, RateLimit
from mqtasks.storage.contract import (
    Allocation,
    Completion,
    ExecutorLimit,
    KeyLimit,
    RateRule,
    RetryRequest,
)
from tests.support.rules.base import (
    RUNNERS,
    Comparison,
    beliefs,
    results,
    some_names,
    usually,
    writers,
)


class QueueRules(Comparison):
    """Promote, allocate, and everything a worker writes."""

    @rule(limit=st.integers(1, 4), seconds=st.sampled_from([0, 2, 20]))
    def promote(self, limit: int, seconds: float) -> None:
        self.clock.advance(seconds)
        self.do(lambda side: side.storage.promote_due(limit))

    @rule(
        names=some_names,
        runner=st.sampled_from(RUNNERS),
        belief=beliefs,
        stale=beliefs,
        by_hand=st.booleans(),
        limits=st.lists(
            st.one_of(
                st.builds(
                    ExecutorLimit, st.sampled_from(["work", "0000000007"]), st.integers(0, 3)
                ),
                st.builds(KeyLimit, st.sampled_from(["a", "b"]), st.integers(0, 3)),
                st.builds(
                    RateRule,
                    st.sampled_from(["executor:work", "key:a"]),
                    st.builds(RateLimit, st.sampled_from([1, 3]), st.sampled_from([1.0, 9.0])),
                ),
            ),
            max_size=3,
        ),
    )
    def allocate(self, names, runner, belief, stale, by_hand, limits) -> None:
        generation = self.generation(runner, stale)
        known = self.known(dict.fromkeys(names), belief)
        self.do(
            lambda side: side.storage.allocate_many(
                [Allocation(side.id_of(name), epoch, runner, generation) for name, epoch in known],
                None if by_hand else self.leadership,
                limits,
            )
        )

    @rule(
        holder=st.sampled_from(["one", "two"]),
        what=st.sampled_from(["acquire", "renew", "release"]),
    )
    def lease(self, holder: str, what: str) -> None:
        if what == "acquire":
            held = self.do(lambda side: side.storage.acquire_lease("leader", holder, 60_000))
            self.leadership = held or self.leadership
        elif what == "renew":
            self.do(lambda side: side.storage.renew_lease(self.leadership, 60_000))
        else:
            self.do(lambda side: side.storage.release_lease(self.leadership))

    @rule(
        runner=writers,
        names=some_names,
        belief=beliefs,
        result=results,
        outcome=st.sampled_from(
            [AttemptOutcome.FAILED, AttemptOutcome.FAILED, AttemptOutcome.CANCELED]
        ),
        repeat=usually,
    )
    def complete(self, runner, names, belief, result, outcome, repeat) -> None:
        owner, names = self.writer(runner, names)
        tasks = self.epochs(names, belief)
        for _ in range(1 + (not repeat)):
            self.do(
                lambda side: side.storage.complete_many(
                    owner,
                    [
                        Completion(item.task_id, item.epoch, result, 7, "trace", int(outcome))
                        for item in tasks(side)
                    ],
                )
            )

    @rule(
        runner=writers,
        names=some_names,
        belief=beliefs,
        delay_ms=st.sampled_from([0, 2000]),
        outcome=st.sampled_from(
            [
                AttemptOutcome.FAILED,
                AttemptOutcome.TIMED_OUT,
                AttemptOutcome.CRASHED,
                AttemptOutcome.SNOOZED,
            ]
        ),
        repeat=usually,
    )
    def retry(self, runner, names, belief, delay_ms, outcome, repeat) -> None:
        owner, names = self.writer(runner, names)
        tasks = self.epochs(names, belief)
        for _ in range(1 + (not repeat)):
            self.do(
                lambda side: side.storage.retry_many(
                    owner,
                    [
                        RetryRequest(
                            item.task_id, item.epoch, delay_ms, "boom", "", 7, int(outcome)
                        )
                        for item in tasks(side)
                    ],
                )
            )

    @rule(runner=writers, names=some_names, belief=beliefs)
    def release(self, runner, names, belief) -> None:
        owner, names = self.writer(runner, names)
        tasks = self.epochs(names, belief)
        self.do(lambda side: side.storage.release_many(owner, tasks(side), "drain"))

    @rule(runner=st.sampled_from(RUNNERS), stale=beliefs)
    def release_unstarted(self, runner, stale) -> None:
        generation = self.generation(runner, stale)
        self.do(lambda side: side.storage.release_unstarted(runner, generation, "drain"))

    @rule(
        runner=writers,
        names=some_names,
        belief=beliefs,
        what=st.sampled_from(["start", "start", "beat", "progress"]),
    )
    def work(self, runner, names, belief, what) -> None:
        owner, names = self.writer(runner, names)
        tasks = self.epochs(names, belief)
        if what == "start":
            self.do(lambda side: side.storage.mark_started(owner, tasks(side)))
        elif what == "beat":
            self.do(lambda side: side.storage.heartbeat_many(owner, tasks(side)))
        else:
            self.do(lambda side: side.storage.save_progress(owner, tasks(side)[0], b"half"))
