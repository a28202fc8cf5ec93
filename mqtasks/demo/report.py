"""The verdict: what the tables say, what was counted outside, what a direct computation says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from mqtasks.demo.figures import Figures
from mqtasks.demo.tally import Entry, Event
from mqtasks.model import AsyncTask, Attempt, ResultCode, TaskStatus

CRON_STEP_MS: Final = 1000


class Executions(msgspec.Struct, frozen=True):
    """What happened to the tasks of one kind, storage and tally held against each other."""

    tasks: int
    lost: int
    """Tasks without a successful end in storage, or that no executor ever finished."""
    doubled: int
    """Executions that finished one allocation (task, epoch) a second time."""
    executions: int
    interrupted: int
    """Executions that a later allocation of the same task took the place of."""
    unexplained: int
    """Those of them that the task's history does not mention."""

    @property
    def right(self) -> bool:
        """Whether each task was done, and none twice without a reason."""
        return self.lost == 0 and self.doubled == 0 and self.unexplained == 0


def judge(
    rows: Sequence[AsyncTask],
    expected: int,
    entries: Iterable[Entry],
    history: Callable[[int], Iterable[Attempt]],
) -> Executions:
    """Hold the stored rows of ``expected`` tasks against what was counted outside.

    ``history`` returns the attempts of a task; it is asked where a task ran more than once.
    """
    last_epoch = {row.id: row.epoch for row in rows}
    started: Counter[tuple[int, int]] = Counter()
    finished: Counter[tuple[int, int]] = Counter()
    for task_id, epoch, event in entries:
        if task_id in last_epoch:
            (started if event is Event.STARTED else finished)[task_id, epoch] += 1
    done = {
        row.id
        for row in rows
        if row.status is TaskStatus.COMPLETED
        and row.execute_result is not None
        and row.execute_result.code is ResultCode.SUCCESS
        and finished[row.id, row.epoch] > 0
    }
    repeated = sorted(pair for pair in started if pair[1] < last_epoch[pair[0]])
    explained = {
        (attempt.task_id, attempt.epoch)
        for task_id in sorted({task_id for task_id, _ in repeated})
        for attempt in history(task_id)
    }
    return Executions(
        tasks=expected,
        lost=expected - len(done),
        doubled=sum((started | finished).values()) - len(started | finished),
        executions=sum(started.values()),
        interrupted=len(repeated),
        unexplained=sum(pair not in explained for pair in repeated),
    )


class Firings(msgspec.Struct, frozen=True):
    """What a cron of every second did."""

    fired: int
    seconds: int
    """From the first due second to the last, both counted: as many as there must be firings."""
    doubled: int
    missing: int

    @property
    def right(self) -> bool:
        """Whether each second has exactly one firing."""
        return self.doubled == 0 and self.missing == 0


def judge_firings(rows: Sequence[AsyncTask]) -> Firings:
    """Check that the firings of a cron of every second are due one second apart."""
    due = sorted(row.run_at // CRON_STEP_MS for row in rows)
    gaps = [later - earlier for earlier, later in pairwise(due)]
    return Firings(
        fired=len(due),
        seconds=due[-1] - due[0] + 1 if due else 0,
        doubled=sum(gap == 0 for gap in gaps),
        missing=sum(gap - 1 for gap in gaps if gap > 1),
    )


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds between two moments of many tasks."""

    p50: int
    p99: int


def latency(spans_ms: Iterable[int]) -> Latency:
    """Return the median and the 99th percentile; zeros for no spans."""
    ordered = sorted(spans_ms)
    if not ordered:
        return Latency(0, 0)

    def at(share: float) -> int:
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

    return Latency(at(0.5), at(0.99))


def compare(direct: Figures, tasks: Figures) -> list[tuple[str, str, str, bool]]:
    """Return (figure, computed directly, computed by tasks, equal?) for each figure."""
    return [
        (name, str(one), str(other), one == other)
        for name in Figures.__struct_fields__
        for one, other in [(getattr(direct, name), getattr(tasks, name))]
    ]
