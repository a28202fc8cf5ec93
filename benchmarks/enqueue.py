"""How fast tasks are created: one by one against a bare driver loop, and in batches."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.machine import CpuUse
from benchmarks.stage import Stage

_ROUNDS = 5


def run(*, storage: str, tasks: int, batch: int) -> dict[str, Any]:
    """Alternate between mqtasks and the bare loop, so that both meet the same disturbance."""
    with Stage(storage) as stage:
        stage.app()
        from benchmarks import apps

        bare, close = _bare_insert(stage)
        cpu = CpuUse()
        ours, theirs, ratios = [], [], []
        for _ in range(_ROUNDS):
            one = _rate(tasks, apps.noop.enqueue)
            other = _rate(tasks, bare)
            ours.append(one)
            theirs.append(other)
            ratios.append(one / other)
        close()
        began = time.perf_counter()
        apps.noop.enqueue_many(((number,) for number in range(batch)), chunk=1000)
        many = batch / (time.perf_counter() - began)
        _, foreign = cpu.stop()
        return {
            "benchmark": "enqueue",
            "storage": storage,
            "tasks": tasks,
            "rounds": _ROUNDS,
            "one_by_one": round(statistics.median(ours)),
            "bare_driver": round(statistics.median(theirs)),
            "ratio": round(statistics.median(ratios), 3),
            "batch": round(many),
            "batch_tasks": batch,
            "foreign_cpu_seconds": round(foreign, 2),
            "machine": stage.describe(),
        }


def line(result: dict[str, Any]) -> str:
    """Return the figures in one line."""
    return (
        f"enqueue {result['storage']}: {result['one_by_one']:,}/s one by one"
        f" = {result['ratio']:.0%} of a bare driver loop ({result['bare_driver']:,}/s);"
        f" {result['batch']:,}/s in batches of 1,000"
        f" (foreign cpu {result['foreign_cpu_seconds']:g} s)"
    )


def _rate(count: int, call: Callable[[int], object]) -> float:
    began = time.perf_counter()
    for number in range(count):
        call(number)
    return count / (time.perf_counter() - began)


def _bare_insert(stage: Stage) -> tuple[Callable[[int], object], Callable[[], None]]:
    """Return an insert of one committed row of the same content with the driver alone."""
    connection: Any
    if stage.mariadb is not None:
        connection = stage.mariadb.client("bench")
        mark = "%s"
    else:
        import sqlite3

        connection = sqlite3.connect(stage.folder / "tasks.db", isolation_level=None)
        connection.execute("PRAGMA synchronous=FULL")
        mark = "?"
    cursor = connection.cursor()
    columns = (
        "metadata_id, executor, context, options, parent_task_id, status, priority, lane,"
        " queue_lane, queue_rank, run_at, created_at"
    )
    statement = f"INSERT INTO mqtasks_task ({columns}) VALUES ({', '.join([mark] * 12)})"  # noqa: S608
    stamp = time.monotonic_ns()
    count = itertools.count()

    def insert(number: int) -> None:
        identity = f"bare-{stamp:x}-{next(count):x}".encode()
        context = b"j[[%d],{}]" % number
        now = time.time_ns() // 1_000_000
        row = (identity, b"bench.noop", context, b"", b"", 0, 0, 7, 7, 0, now, now)
        cursor.execute(statement, row)

    return insert, connection.close
