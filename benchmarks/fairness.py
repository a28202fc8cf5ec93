"""What 100,000 tasks of one tenant cost another: from create to the executor, with and without."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import Any

from benchmarks import counting
from benchmarks.latency import percentile
from benchmarks.machine import CpuUse
from benchmarks.stage import Stage
from mqtasks.model import TaskStatus

_WORK = 0.02
"""Seconds that each task of the large tenant holds a slot."""
_SMALL_BACKLOG = 2_000


def run(*, storage: str, backlog: int, tasks: int, parallelism: int, keys: bool) -> dict[str, Any]:
    """Measure tenant "small" alone, beside a small backlog of "large", and beside a large one.

    ``keys``: each task of "large" has a concurrency key, and so a lane, of its own.
    """
    with Stage(storage) as stage:
        stage.start_fleet("--parallelism", str(parallelism))
        alone = _measure(stage, tasks)
        seconds = tasks * 0.1 + 5
        little = max(_SMALL_BACKLOG, round(seconds * parallelism / _WORK))
        _fill(little, 0, keys=keys)
        some = _measure(stage, tasks)
        _fill(backlog, little, keys=keys)
        cpu = CpuUse()
        many = _measure(stage, tasks)
        used, foreign = cpu.stop()
        left = stage.app().service.storage.count_by_status(10**9)
        return {
            "benchmark": "fairness",
            "storage": storage,
            "backlog": backlog,
            "keys": keys,
            "parallelism": parallelism,
            "tasks": tasks,
            "left_at_the_end": {TaskStatus(status).name: count for status, count in left.items()},
            "alone_p50_ms": percentile(alone, 0.5),
            "alone_p99_ms": percentile(alone, 0.99),
            "some_backlog": little,
            "some_p50_ms": percentile(some, 0.5),
            "some_p99_ms": percentile(some, 0.99),
            "full_p50_ms": percentile(many, 0.5),
            "full_p99_ms": percentile(many, 0.99),
            "ratio_p99": round(percentile(many, 0.99) / percentile(alone, 0.99), 3),
            "cpu_seconds": used,
            "foreign_cpu_seconds": round(foreign, 2),
            "machine": stage.describe(),
        }


def line(result: dict[str, Any]) -> str:
    """Return the figures in one line."""
    lanes = "a lane each" if result["keys"] else "one lane"
    return (
        f"fairness {result['storage']}: beside {result['backlog']:,} tasks of another tenant"
        f" ({lanes}) p50 {result['full_p50_ms']:g} ms, p99 {result['full_p99_ms']:g} ms;"
        f" beside {result['some_backlog']:,} {result['some_p50_ms']:g} and"
        f" {result['some_p99_ms']:g} ms; alone {result['alone_p50_ms']:g} and"
        f" {result['alone_p99_ms']:g} ms: {result['ratio_p99']:g}x"
    )


def _fill(count: int, first: int, *, keys: bool) -> None:
    from benchmarks import apps

    if keys:
        for number in range(first, first + count):
            apps.rest.options(tenant="large", key=f"k{number}").enqueue(_WORK)
    else:
        apps.rest.options(tenant="large").enqueue_many([(_WORK,) for _ in range(count)])


def _measure(stage: Stage, tasks: int) -> list[float]:
    """Return milliseconds from before `enqueue` to the execution of tasks of the other tenant."""
    from benchmarks import apps

    rng = random.Random(1)
    small = apps.noop.options(tenant="small")
    already = counting.count(stage.log)
    begun = []
    for number in range(tasks):
        time.sleep(rng.uniform(0.05, 0.15))  # not in step with anything that polls
        begun.append(time.monotonic_ns())
        small.enqueue(already + number)
    stage.wait(partial(_executed, stage, already + tasks), 60, "all executions")
    executed = dict(counting.records(stage.log)[already:])
    return [(executed[already + i] - begun[i]) / 1e6 for i in range(tasks)]


def _executed(stage: Stage, wanted: int) -> bool:
    return counting.count(stage.log) >= wanted
