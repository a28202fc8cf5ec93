"""The verdict: storage and tally held against each other."""

from __future__ import annotations

from typing import Any

import pytest

from mqtasks.demo import report
from mqtasks.demo.figures import NOTHING, Figures
from mqtasks.demo.run import Outcome
from mqtasks.demo.tally import Entry, Event, note, read
from mqtasks.demo.verdict import verdict
from mqtasks.model import (
    AsyncTask,
    Attempt,
    AttemptOutcome,
    ExecuteResult,
    ResultCode,
    TaskMetadata,
    TaskStatus,
)

GOOD = ExecuteResult()
BAD = ExecuteResult(ResultCode.FAILED, "no")


def row(task_id, epoch=1, status=TaskStatus.COMPLETED, result=GOOD, run_at=0):
    metadata = TaskMetadata(f"t{task_id}", "measure")
    return AsyncTask(
        id=task_id,
        metadata=metadata,
        epoch=epoch,
        status=status,
        execute_result=result,
        run_at=run_at,
    )


def ran(task_id, epoch=1, *, finished=True):
    events = [Event.STARTED, Event.FINISHED] if finished else [Event.STARTED]
    return [Entry(task_id, epoch, event) for event in events]


def nothing(task_id):
    return []


def crashed(task_id):
    return [Attempt(task_id=task_id, epoch=1, runner="r", outcome=AttemptOutcome.CRASHED)]


def test_each_task_once_is_right():
    judged = report.judge([row(1), row(2)], 2, [*ran(1), *ran(2)], nothing)
    assert judged == report.Executions(2, 0, 0, 2, 0, 0)
    assert judged.right


@pytest.mark.parametrize(
    ("rows", "entries"),
    [
        ([row(1)], ran(1)),  # the other is not even stored
        ([row(1), row(2, status=TaskStatus.RUNNING, result=None)], [*ran(1), *ran(2)]),
        ([row(1), row(2, result=BAD)], [*ran(1), *ran(2)]),
        ([row(1), row(2)], ran(1)),  # storage says done, but nobody did it
        ([row(1), row(2, epoch=2)], [*ran(1), *ran(2, 1)]),  # nobody did it in that epoch
    ],
)
def test_a_task_that_is_not_done_is_lost(rows, entries):
    judged = report.judge(rows, 2, entries, crashed)
    assert judged.lost == 1
    assert not judged.right


@pytest.mark.parametrize("again", [ran(1), ran(1, finished=False)])
def test_an_allocation_that_runs_twice_is_doubled(again):
    judged = report.judge([row(1)], 1, [*ran(1), *again], nothing)
    assert judged.doubled == 1
    assert not judged.right


@pytest.mark.parametrize(("history", "unexplained"), [(crashed, 0), (nothing, 1)])
def test_an_execution_after_a_kill_is_right_if_the_history_says_so(history, unexplained):
    entries = [*ran(1, 1, finished=False), *ran(1, 2)]
    judged = report.judge([row(1, epoch=2)], 1, entries, history)
    assert (judged.executions, judged.interrupted, judged.unexplained) == (2, 1, unexplained)
    assert judged.right is (unexplained == 0)


@pytest.mark.parametrize(
    ("due", "firings"),
    [
        ([3000, 1000, 2000], report.Firings(3, 3, 0, 0)),
        ([1000, 2000, 2000], report.Firings(3, 2, 1, 0)),
        ([1000, 4000], report.Firings(2, 4, 0, 2)),
        ([], report.Firings(0, 0, 0, 0)),
    ],
)
def test_a_cron_fires_once_each_second(due, firings):
    rows = [row(number, run_at=at) for number, at in enumerate(due)]
    assert report.judge_firings(rows) == firings


def test_latency_is_the_median_and_the_99th_percentile():
    assert report.latency(range(1, 101)) == report.Latency(51, 100)
    assert report.latency([]) == report.Latency(0, 0)


def test_the_tally_survives_half_a_record(tmp_path):
    path = tmp_path / "tally"
    note(str(path), 2**63, 2**32 - 1, Event.FINISHED)
    with path.open("ab") as file:
        file.write(b"\x01\x02")
    assert list(read(path)) == [Entry(2**63, 2**32 - 1, Event.FINISHED)]
    assert list(read(tmp_path / "none")) == []


def outcome(**changes):
    values: dict[str, Any] = {
        "tasks": report.Executions(1, 0, 0, 1, 0, 0),
        "firings": report.Firings(1, 1, 0, 0),
        "cron_tasks": report.Executions(1, 0, 0, 1, 0, 0),
        "added_up": NOTHING,
        "direct": NOTHING,
        "seconds": 2.0,
        "waited": report.Latency(1, 2),
        "punctual": report.Latency(1, 2),
    }
    return Outcome(**(values | changes))


def test_the_last_line_says_ok():
    lines = verdict(outcome())
    assert lines[0].startswith("tasks 1, lost 0, doubled 0;")
    assert lines[-1] == "OK: the sums are equal, nothing was lost, nothing was done twice"
    assert sum(line.endswith("equal") for line in lines) == len(Figures.__struct_fields__)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"added_up": Figures(1, 0, 0, 0, 0, "0" * 64)}, "the sums differ"),
        ({"tasks": report.Executions(2, 1, 0, 1, 0, 0)}, "tasks: 1 lost"),
        ({"cron_tasks": report.Executions(1, 0, 1, 2, 0, 0)}, "firings: 0 lost, 1 doubled"),
        ({"firings": report.Firings(2, 3, 0, 1)}, "the cron did not fire once each second"),
        ({"tasks": report.Executions(1, 0, 0, 2, 1, 1)}, "1 executions without a history"),
    ],
)
def test_the_last_line_says_what_is_wrong(changes, says):
    lines = verdict(outcome(**changes))
    assert lines[-1].startswith("FAILED: ")
    assert says in lines[-1]
    assert not outcome(**changes).right
