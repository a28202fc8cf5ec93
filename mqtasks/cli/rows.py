"""Records as rows of plain values: the JSON of read commands. Times are unix ms, 0 = never."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mqtasks.model import AsyncTask, Attempt, CronFiring, CronTask, RunnerRecord

Row = dict[str, Any]
_NEVER = 253_402_214_400_000
"""`mqtasks.model.NEVER`, which this module need not load."""


def task_row(task: AsyncTask) -> Row:
    """Return a task without its payloads, for lists."""
    result = task.execute_result
    return {
        "task_id": task.id,
        "id": task.metadata.id,
        "executor": task.metadata.executor,
        "status": task.status.name,
        "outcome": None if result is None else result.code.name,
        "runner": task.runner,
        "epoch": task.epoch,
        "attempt": task.attempt,
        "crashes": task.crashes,
        "priority": task.priority,
        "parent": task.parent_task_id,
        "run_at": task.run_at,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "completed_at": task.completed_at,
        "error": "" if result is None else result.error,
    }


def task_record(task: AsyncTask, attempts: list[Attempt]) -> Row:
    """Return all of a task: payloads, options and history too."""
    from msgspec import to_builtins

    from mqtasks.model import AttemptOutcome, TaskStatus

    result = task.execute_result
    row = task_row(task)
    if task.status is TaskStatus.CANCELED and attempts:
        last = attempts[-1]
        row["error"] = last.error if last.outcome == AttemptOutcome.CANCELED else ""
    return row | {
        "last_heartbeat_at": task.last_heartbeat,
        "deadline_at": task.deadline,
        "reassigned": task.reassigned,
        "options": to_builtins(task.metadata.options),
        "context": readable(task.metadata.context),
        "progress": readable(task.progress),
        "value": readable(b"" if result is None else result.value),
        "attempts": [attempt_row(item) for item in attempts],
    }


def attempt_row(attempt: Attempt) -> Row:
    """Return one line of a task's history."""
    from mqtasks.model import AttemptOutcome

    return {
        "epoch": attempt.epoch,
        "runner": attempt.runner,
        "outcome": AttemptOutcome(attempt.outcome).name,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "error": attempt.error,
        "traceback": attempt.traceback,
    }


def runner_row(runner: RunnerRecord, live: Mapping[str, int]) -> Row:
    """Return a runner; ``live`` says how many tasks each runner owns now."""
    from mqtasks.model import RunnerState, executor_value

    stopped = runner.state is RunnerState.STOPPED
    return {
        "runner": runner.id,
        "state": runner.state.name,
        "alive": not stopped and runner.lease_remaining_ms > 0,
        "lease_remaining_ms": runner.lease_remaining_ms,
        "generation": runner.generation,
        "tasks": live.get(runner.id, 0),
        "parallelism": runner.parallelism,
        "max_wait_tasks": runner.max_wait_tasks,
        "executors": [executor_value(code) for code in runner.executors],
        "labels": runner.labels,
        "cpu": runner.cpu,
        "memory": runner.memory,
        "host": runner.host,
        "pid": runner.pid,
        "version": runner.version,
        "started_at": runner.started_at,
    }


def cron_row(cron: CronTask) -> Row:
    """Return a cron task."""
    return {
        "id": cron.metadata.id,
        "cron": cron.cron_expr,
        "timezone": cron.timezone,
        "executor": cron.metadata.executor,
        "next_time": cron.next_time if cron.next_time < _NEVER else 0,
        "fired": cron.trigger_times,
        "paused": cron.paused,
        "created_at": cron.created_at,
        "context": readable(cron.metadata.context),
    }


def cron_record(cron: CronTask, firings: list[CronFiring]) -> Row:
    """Return all of a cron task, and its latest firings."""
    from msgspec import to_builtins
    from msgspec.structs import asdict

    return cron_row(cron) | {
        "options": to_builtins(cron.metadata.options),
        "policy": asdict(cron.policy),
        "pause_reason": cron.pause_reason,
        "version": cron.version,
        "app": cron.app,
        "updated_at": cron.updated_at,
        "firings": [
            {
                "kind": item.kind.name,
                "fire_time": item.fire_time,
                "state": item.state.name,
                "task": item.task,
                "fired_at": item.fired_at,
            }
            for item in firings
        ],
    }


def readable(data: bytes) -> str | dict[str, str]:
    """Return bytes as text; those that are not UTF-8 as ``{"base64": …}``."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}
