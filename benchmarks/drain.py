"""How fast preloaded no-op tasks are executed by real processes, each exactly once."""

from __future__ import annotations

import time
from typing import Any

from benchmarks import counting
from benchmarks.machine import CpuUse
from benchmarks.stage import Stage
from mqtasks.model import TaskStatus


def run(
    *,
    storage: str,
    tasks: int,
    parallelism: int,
    processes: int,
    max_wait: int,
    kind: str,
    redis: bool,
) -> dict[str, Any]:
    """Preload, start scheduler and worker, and measure from the first execution to the last."""
    with Stage(storage, redis=redis) as stage:
        app = stage.app()
        from benchmarks import apps

        task = {"thread": apps.noop, "async": apps.noop_async}[kind]
        began = time.perf_counter()
        task.enqueue_many((number,) for number in range(tasks))
        preload = tasks / (time.perf_counter() - began)

        cpu = CpuUse()
        worker = {"--parallelism": parallelism, "--processes": processes, "--max-wait": max_wait}
        stage.start_fleet(*(str(word) for pair in worker.items() for word in pair))
        stage.wait(lambda: counting.count(stage.log) >= tasks, 300, "all executions")
        done = int(TaskStatus.COMPLETED)
        counted = app.service.storage.count_by_status
        stage.wait(lambda: counted(tasks + 1).get(done, 0) >= tasks, 30, "all completions")
        used, foreign = cpu.stop()
        executions = counting.summary(stage.log)
        return {
            "benchmark": "drain",
            "storage": storage,
            "tasks": tasks,
            "executed": executions.total,
            "distinct": executions.distinct,
            "exactly_once": executions.total == executions.distinct == tasks,
            "seconds": round(executions.seconds, 3),
            "rate": round(tasks / executions.seconds),
            "preload_rate": round(preload),
            "settings": {
                "parallelism": parallelism,
                "processes": processes,
                "max_wait": max_wait,
                "kind": kind,
                "redis": redis,
            },
            "cpu_seconds": used,
            "foreign_cpu_seconds": round(foreign, 2),
            "machine": stage.describe(),
        }


def line(result: dict[str, Any]) -> str:
    """Return the figures in one line."""
    once = "each once" if result["exactly_once"] else "NOT EACH ONCE"
    cpu = ", ".join(f"{name} {seconds:g}" for name, seconds in result["cpu_seconds"].items())
    return (
        f"drain {result['storage']}: {result['rate']:,} tasks/s"
        f" ({result['tasks']:,} in {result['seconds']:g} s, {once};"
        f" preload {result['preload_rate']:,}/s; cpu s: {cpu};"
        f" foreign {result['foreign_cpu_seconds']:g})"
    )
