"""The unmodified `rq info` of the installed version shows executors and runners."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from pathlib import Path

import pytest

from mqtasks.clock import ManualClock
from mqtasks.rq.snapshot import CAP
from mqtasks.storage.mysql import MySQLTaskStorage
from tests.rq.conftest import RQ, Rq, filled
from tests.support.stage import Stage, row

QUEUES = [
    "queue 7 1, 0 executing, 0 finished, 0 failed",
    "queue mail 2, 2 executing, 3 finished, 1 failed",
    "queue report 0, 0 executing, 0 finished, 0 failed",
]
WORKERS = [
    "worker r1 (alpha unknown 101) busy mail, 7. jobs: 0 finished, 0 failed",
    "worker r2 (beta unknown 102) idle mail. jobs: 0 finished, 0 failed",
    "worker r3 (gamma unknown 103) draining report. jobs: 0 finished, 0 failed",
    "worker r5 (eps unknown 105) lapsed mail. jobs: 0 finished, 0 failed",
]


def answer(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.splitlines()


def test_raw_shows_executors_as_queues_and_runners_as_workers(stage: Stage, rq: Rq) -> None:
    lines = answer(rq("info", "--raw"))

    assert lines[:3] == QUEUES
    assert sorted(lines[3:]) == WORKERS  # rq keeps workers in a set


def test_mysql_shows_the_same(mysql_url: str, rq: Rq) -> None:
    with contextlib.closing(MySQLTaskStorage(mysql_url)) as storage:
        filled(Stage(storage, ManualClock()))

    lines = answer(rq("info", "--raw", MQTASKS_URL=mysql_url))

    assert lines[:3] == QUEUES
    assert sorted(lines[3:]) == WORKERS


def test_the_human_form_adds_charts_and_totals(stage: Stage, rq: Rq) -> None:
    lines = answer(rq("info"))

    assert lines[1] == "mail         |██ 2, 2 executing, 3 finished, 1 failed"
    assert "3 queues, 3 jobs total" in lines
    assert "4 workers, 3 queues" in lines
    assert "r1 (alpha unknown 101): busy mail, 7. jobs: 0 finished, 0 failed" in lines


def test_by_queue_lists_the_runners_of_each_executor(stage: Stage, rq: Rq) -> None:
    lines = answer(rq("info", "-R", "--raw"))

    assert lines[3:] == [
        "7:      r1 (busy)",
        "mail:   r1 (busy), r2 (idle), r5 (lapsed)",
        "report: r3 (draining)",
    ]


def test_only_queues_and_only_workers(stage: Stage, rq: Rq) -> None:
    assert answer(rq("info", "-Q", "--raw")) == QUEUES
    assert sorted(answer(rq("info", "-W", "--raw"))) == WORKERS


def test_queues_may_be_named(stage: Stage, rq: Rq) -> None:
    lines = answer(rq("info", "--raw", "7", "unheard-of"))

    assert lines == [
        QUEUES[0],
        "queue unheard-of 0, 0 executing, 0 finished, 0 failed",
        WORKERS[0],
    ]


def test_an_interval_shows_what_changes(stage: Stage, rq: Rq) -> None:
    command = [str(RQ), "info", "-i", "0.1", "--raw", "7"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as shown:
        assert shown.stdout is not None
        assert shown.stdout.readline().strip() == QUEUES[0]
        stage.create("another", executor=7)
        stage.register("r6", executors=("0000000007",), host="zeta", pid=106)
        seen: set[str] = set()
        wanted = {
            QUEUES[0].replace(" 1,", " 2,"),
            "worker r6 (zeta unknown 106) idle 7. jobs: 0 finished, 0 failed",
        }
        while not wanted <= seen:
            line = shown.stdout.readline()
            assert line, "rq info has ended"
            seen.add(line.strip())
        shown.send_signal(signal.SIGINT)
        shown.stdout.read()
    assert shown.returncode == 0


def test_an_empty_database_shows_nothing(empty: Stage, rq: Rq) -> None:
    assert not answer(rq("info", "--raw"))


def test_counts_of_more_tasks_than_are_looked_at_come_with_a_warning(empty: Stage, rq: Rq) -> None:
    empty.storage.add(*(row(f"task {number}") for number in range(CAP + 1)))

    done = rq("info", "--raw")

    assert done.stdout.splitlines() == [f"queue work {CAP}, 0 executing, 0 finished, 0 failed"]
    assert done.stderr.splitlines() == [
        f"counts are of the first {CAP} tasks of each status; there are more"
    ]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MQTASKS_URL", "mysql://me:secret@127.0.0.1:1/tasks", "127.0.0.1"),
        ("MQTASKS_URL", "memory://", "lives in one process"),
        ("MQTASKS_URL", "sqlite:///no-such.db", "no-such.db"),
        ("MQTASKS_HEARTBEAT_TIMEOUT", "soon", "heartbeat_timeout"),
    ],
)
def test_what_cannot_be_read_is_one_line(rq: Rq, variable: str, value: str, said: str) -> None:
    done = rq("info", **{variable: value})

    assert done.returncode == 1
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert said in line
    assert "secret" not in line
    assert not Path("no-such.db").exists()
