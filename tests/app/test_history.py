"""The history of attempts: one closed row for each allocation that did not end in success (M18)."""

from __future__ import annotations

from itertools import count
from typing import Any

from mqtasks import (
    Attempt,
    AttemptOutcome,
    Cancel,
    Fail,
    MQTasks,
    Scheduler,
    Snooze,
    TaskHandle,
    TaskRunner,
    as_completed,
)
from mqtasks.worker.describe import MAX_TEXT_BYTES

DEADLINE = 30.0


def run_all(app: MQTasks, handles: list[TaskHandle[Any]]) -> None:
    with Scheduler(app.service), TaskRunner("r", app.service, registry=app.registry):
        assert len(list(as_completed(handles, DEADLINE))) == len(handles)


def closed(attempt: Attempt) -> bool:
    return attempt.runner == "r" and 0 < attempt.started_at <= attempt.ended_at


def test_m18_each_allocation_that_did_not_succeed_has_a_closed_row(app: MQTasks):
    runs = {kind: count() for kind in ("late", "snoozed")}

    @app.task(max_retry_times=2, retry_delay=0.005)
    def work(kind: str) -> str:
        if kind == "fails":
            raise ValueError(kind)
        if kind == "given up":
            raise Fail(kind)
        if kind == "canceled":
            raise Cancel(kind)
        if kind == "late" and next(runs[kind]) < 2:
            raise OSError(kind)
        if kind == "snoozed" and next(runs[kind]) < 3:
            raise Snooze(0.005, kind)
        return kind

    kinds = ("succeeds", "fails", "given up", "canceled", "late", "snoozed")
    handles = dict(zip(kinds, work.enqueue_many([(kind,) for kind in kinds]), strict=True))
    run_all(app, list(handles.values()))
    found: dict[str, list[str]] = {}
    for kind, handle in handles.items():
        history = app.service.attempts(handle.task_id)
        assert all(closed(attempt) and kind in attempt.error for attempt in history)
        epochs = [attempt.epoch for attempt in history]
        last = handle.fetch().epoch
        assert epochs == list(range(1, last + (not handle.succeeded())))
        found[kind] = [AttemptOutcome(attempt.outcome).name for attempt in history]
    assert found == {
        "succeeds": [],
        "fails": ["FAILED"] * 3,
        "given up": ["FAILED"],
        "canceled": ["CANCELED"],
        "late": ["FAILED"] * 2,
        "snoozed": ["SNOOZED"] * 3,
    }


def test_m18_the_texts_of_each_attempt_are_capped(app: MQTasks):
    @app.task(max_retry_times=1, retry_delay=0)
    def dump(depth: int = 0) -> None:
        if depth < 20:
            dump(depth + 1)
        raise ValueError("é" * 200_000)

    handle = dump.enqueue()
    run_all(app, [handle])
    history = app.service.attempts(handle.task_id)
    assert len(history) == 2
    for attempt in history:
        for text in (attempt.error, attempt.traceback):
            assert 60_000 < len(text.encode()) <= MAX_TEXT_BYTES
            assert "(cut)" in text
        assert attempt.error.startswith("ValueError: é")
        assert attempt.traceback.startswith("Traceback (most recent call last)")
        assert attempt.traceback.rstrip().endswith("é")
    result = handle.fetch().execute_result
    assert result is not None
    assert len(result.error.encode()) <= MAX_TEXT_BYTES
