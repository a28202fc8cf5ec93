"""What 1,000,000 tasks that cannot be placed cost one that can: its latency with and without."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from benchmarks import counting
from benchmarks.latency import measure, percentile
from benchmarks.machine import CpuUse
from benchmarks.stage import Stage
from mqtasks.model import DEFAULT_OPTIONS, TaskMetadata, TaskOptions

# Four reasons why a CREATED row cannot be placed.
_CLASSES = {
    "no label": ("bench.noop", TaskOptions(labels={"gpu": "yes"})),
    "unknown executor": ("bench.nobody", DEFAULT_OPTIONS),
    "concurrency full": ("bench.block", TaskOptions(concurrency=1)),
    "memory short": ("bench.noop", TaskOptions(memory=2**40)),
}


def run(*, backlog: int, tasks: int) -> dict[str, Any]:
    """Measure latency on an empty table, insert the backlog, measure again."""
    with Stage("mysql") as stage:
        stage.start_fleet()
        from benchmarks import apps

        empty = measure(stage, tasks)
        blocker = apps.block.enqueue(3600.0)
        stage.wait(lambda: blocker.status().name == "RUNNING", 30, "the blocker to run")
        rows = {
            reason: _fill(stage, reason, *what, backlog // len(_CLASSES))
            for reason, what in _CLASSES.items()
        }
        cpu = CpuUse()
        full = measure(stage, tasks)
        used, foreign = cpu.stop()
        return {
            "benchmark": "backlog",
            "rows": rows,
            "tasks": tasks,
            "executions": counting.count(stage.log),
            "empty_p50_ms": percentile(empty, 0.5),
            "empty_p99_ms": percentile(empty, 0.99),
            "full_p50_ms": percentile(full, 0.5),
            "full_p99_ms": percentile(full, 0.99),
            "ratio_p50": round(percentile(full, 0.5) / percentile(empty, 0.5), 3),
            "ratio_p99": round(percentile(full, 0.99) / percentile(empty, 0.99), 3),
            "cpu_seconds": used,
            "foreign_cpu_seconds": round(foreign, 2),
            "machine": stage.describe(),
        }


def line(result: dict[str, Any]) -> str:
    """Return the figures in one line."""
    rows = sum(result["rows"].values())
    return (
        f"backlog: {rows:,} unplaceable rows, one good task p50 {result['full_p50_ms']:g} ms"
        f" (empty table {result['empty_p50_ms']:g} ms): {result['ratio_p50']:g}x;"
        f" p99 {result['full_p99_ms']:g} ms ({result['empty_p99_ms']:g} ms):"
        f" {result['ratio_p99']:g}x"
    )


def _fill(stage: Stage, reason: str, executor: str, options: TaskOptions, count: int) -> int:
    """Create one such task through mqtasks and double its row until there are ``count``."""
    service = stage.app().service
    name = reason.replace(" ", "-")
    first = service.create(TaskMetadata(f"{name}-0", executor, b"j[[1],{}]", options))
    assert stage.mariadb is not None  # noqa: S101 - run() asks for it
    with closing(stage.mariadb.client("bench")) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW COLUMNS FROM mqtasks_task")
        columns = [row[0] for row in cursor.fetchall()]
        copied = ", ".join(c for c in columns if c not in {"task_id", "metadata_id"})
        rows = 1
        while rows < count:
            cursor.execute(
                f"INSERT INTO mqtasks_task (metadata_id, {copied})"  # noqa: S608
                f" SELECT CONCAT(%s, '-', %s, '-', task_id), {copied} FROM mqtasks_task"
                " WHERE task_id >= %s AND metadata_id LIKE %s ORDER BY task_id LIMIT %s",
                (name, rows, first, f"{name}-%", count - rows),
            )
            rows += cursor.rowcount
        cursor.execute("ANALYZE TABLE mqtasks_task")
    return rows
