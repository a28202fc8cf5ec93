"""How long an idle system takes from `create` (insert included) to the executor."""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import counting
from benchmarks.machine import CpuUse
from benchmarks.stage import Stage


def run(*, storage: str, tasks: int, redis: bool) -> dict[str, Any]:
    """Create tasks one at a time, each when the one before has long been done."""
    with Stage(storage, redis=redis) as stage:
        stage.start_fleet()
        times = measure(stage, tasks)
        cpu = CpuUse()
        idle = 10.0
        time.sleep(idle)
        used, foreign = cpu.stop()
        return {
            "benchmark": "latency",
            "storage": storage,
            "redis": redis,
            "tasks": tasks,
            "p50_ms": percentile(times, 0.5),
            "p99_ms": percentile(times, 0.99),
            "max_ms": percentile(times, 1.0),
            "idle_cpu_share": {name: round(cost / idle, 4) for name, cost in used.items()},
            "foreign_cpu_seconds_idle": round(foreign, 2),
            "machine": stage.describe(),
        }


def measure(stage: Stage, tasks: int) -> list[float]:
    """Return milliseconds from before `enqueue` to the execution, for each of ``tasks``."""
    from benchmarks import apps

    rng = random.Random(1)
    warm_up = 10
    begun = []
    already = counting.count(stage.log)
    for number in range(warm_up + tasks):
        # Not in step with anything that polls.
        time.sleep(rng.uniform(0.02, 0.06))
        begun.append(time.monotonic_ns())
        apps.noop.enqueue(number)
        reached = partial(_executed, stage.log, already + number + 1)
        stage.wait(reached, 60, "one execution")
    executed = dict(counting.records(stage.log)[already:])
    return [(executed[i] - begun[i]) / 1e6 for i in range(warm_up, warm_up + tasks)]


def _executed(log: Path, wanted: int) -> bool:
    return counting.count(log) >= wanted


def percentile(values: list[float], share: float) -> float:
    """Return the value that ``share`` of all values do not exceed, rounded to microseconds."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3)


def line(result: dict[str, Any]) -> str:
    """Return the figures in one line."""
    hints = "Redis" if result["redis"] else "no Redis"
    shares = ", ".join(f"{name} {share:.1%}" for name, share in result["idle_cpu_share"].items())
    return (
        f"latency {result['storage']}, {hints}: p50 {result['p50_ms']:g} ms,"
        f" p99 {result['p99_ms']:g} ms, max {result['max_ms']:g} ms; idle CPU of a core: {shares}"
    )
