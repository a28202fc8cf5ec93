"""Random operations on cron rows."""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule
from msgspec.structs import replace

from mqtasks.model import (
    AsyncTask,
    CronPolicy,
    CronTask,
    FiringKind,
    FiringState,
    NewFiring,
    NewTask,
    TaskMetadata,
    TaskOptions,
    extra_firing_id,
    firing_id,
)
from mqtasks.storage.contract import (
    Trigger,
)
from tests.support.comparing import CRONS, Side
from tests.support.rules.base import Comparison, beliefs
from tests.support.stage import row

policies = st.sampled_from([CronPolicy(), CronPolicy(overlap="skip", jitter=1.5)])


class CronRules(Comparison):
    """Add, edit, delete, trigger."""

    def cron(self, name: str, in_ms: int, **fields: Any) -> CronTask:
        next_time = self.clock.now_ms() + in_ms
        task = TaskMetadata(name, "work", b"", TaskOptions(priority=1))
        return CronTask(metadata=task, cron_expr="* * * * *", next_time=next_time, **fields)

    @rule(name=st.sampled_from(CRONS), in_ms=st.sampled_from([0, 3000]), paused=st.booleans())
    def add_cron(self, name: str, in_ms: int, paused: bool) -> None:
        definition = self.cron(name, in_ms, paused=paused)
        self.do(lambda side: side.storage.add_cron_task(definition))

    @rule(
        name=st.sampled_from(CRONS),
        in_ms=st.sampled_from([0, 3000]),
        paused=st.booleans(),
        version=st.integers(0, 3),
        policy=policies,
    )
    def edit_cron(
        self, name: str, in_ms: int, paused: bool, version: int, policy: CronPolicy
    ) -> None:
        definition = self.cron(
            name, in_ms, paused=paused, version=version, timezone="Asia/Tokyo", policy=policy
        )
        self.do(lambda side: side.storage.edit_cron_task(definition))

    @rule(name=st.sampled_from(CRONS))
    def delete_cron(self, name: str) -> None:
        self.do(lambda side: side.storage.delete_cron_task(name))

    @rule(belief=beliefs, turns=st.integers(1, 2))
    def trigger(self, belief: int, turns: int) -> None:
        triggers = []
        for item in self.pair.model.query_cron_task() * turns:
            times = max(0, item.trigger_times + belief)
            task = replace(item.metadata, id=firing_id(item.metadata.id, times + 1))
            triggers.append(
                Trigger(replace(item, trigger_times=times), item.next_time + 60_000, NewTask(task))
            )
        self.do(lambda side: side.storage.trigger_many(triggers))

    @rule(state=st.sampled_from([FiringState.SKIPPED, FiringState.MISSED]), late=st.booleans())
    def leave_out(self, state: FiringState, late: bool) -> None:
        triggers = [
            Trigger(item, item.next_time + 60_000, None, self.clock.now_ms() * late, state)
            for item in self.pair.model.query_cron_task()
        ]
        self.do(lambda side: side.storage.trigger_many(triggers))

    @rule(
        name=st.sampled_from(CRONS),
        kind=st.sampled_from([FiringKind.MANUAL, FiringKind.BACKFILL]),
        seconds=st.lists(st.integers(0, 2), max_size=3),
        belief=beliefs,
    )
    def fire_beside_the_schedule(
        self, name: str, kind: FiringKind, seconds: list[int], belief: int
    ) -> None:
        stored = self.pair.model.find_cron_task(name)
        believed = stored or self.cron(name, 0)
        believed = replace(believed, version=max(0, believed.version + belief))
        now = self.clock.now_ms()
        firings = [
            NewFiring(at, TaskMetadata(extra_firing_id(name, kind, at), "work"), at)
            for at in (now - 1000 * second for second in seconds)
        ]
        self.do(lambda side: side.storage.add_firings(believed, kind, firings))

    @rule(keep=st.sampled_from([0, 5000]))
    def prune_firings(self, keep: int) -> None:
        self.do(lambda side: side.storage.prune_firings(1000, keep))

    @rule(belief=beliefs)
    def trigger_as_the_reference(self, belief: int) -> None:
        for item in self.pair.model.query_cron_task():
            times = max(1, item.trigger_times + 1 + belief)
            following = replace(item, trigger_times=times, next_time=item.next_time + 60_000)
            task = row(firing_id(item.metadata.id, times), parent_task_id=item.metadata.id)
            self.do(partial(_update_cron_task, following, task))


def _update_cron_task(following: CronTask, task: AsyncTask, side: Side) -> int:
    return side.storage.update_cron_task(following, task)
