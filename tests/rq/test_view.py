"""The classes by themselves: what a monitor reads from them."""

from __future__ import annotations

import datetime as dt
import os
from contextlib import closing

import pytest

from mqtasks.clock import ManualClock
from mqtasks.model import RunnerState
from mqtasks.rq import source
from mqtasks.rq.readonly import ViewError
from mqtasks.rq.snapshot import Snapshot
from mqtasks.rq.source import MAX_AGE, SOURCE, SnapshotSource
from mqtasks.rq.view import QueueView, WorkerView
from tests.support.links import linked
from tests.support.stage import Stage


def test_each_status_has_its_registry(stage: Stage) -> None:
    queue = QueueView("mail")

    counts = {
        "queued": queue.count,
        "scheduled": queue.scheduled_job_registry.count,
        "started": len(queue.started_job_registry),
        "finished": queue.finished_job_registry.count,
        "failed": queue.failed_job_registry.get_job_count(cleanup=False),
        "canceled": queue.canceled_job_registry.count,
        "deferred": queue.deferred_job_registry.count,
        "ready": queue.ready_job_registry.count,
    }

    assert counts == {
        "queued": 2,
        "scheduled": 1,
        "started": 2,
        "finished": 3,
        "failed": 1,
        "canceled": 1,
        "deferred": 0,
        "ready": 0,
    }


def test_tasks_that_wait_for_others_are_deferred(empty: Stage) -> None:
    empty.storage.create_tasks([linked("a"), linked("b", "a"), linked("c", "a", executor="mail")])

    assert QueueView("work").count == 1
    assert QueueView("work").deferred_job_registry.count == 1
    assert QueueView("mail").deferred_job_registry.count == 1


def test_queues_come_in_order_of_codes(empty: Stage) -> None:
    empty.create("a", executor="b")
    empty.create("b", executor=10)
    empty.create("c", executor=9)

    assert [queue.name for queue in QueueView.all()] == ["9", "10", "b"]


def test_workers_are_found_by_queue_and_by_key(stage: Stage) -> None:
    mail = QueueView("mail")

    assert [worker.name for worker in WorkerView.all(queue=mail)] == ["r1", "r2", "r5"]
    assert WorkerView.count(queue=mail) == 3
    assert WorkerView.count() == 4
    assert WorkerView.all_keys(queue=QueueView("7")) == ["rq:worker:r1"]
    found = WorkerView.find_by_key("rq:worker:r1")
    assert found is not None
    assert found.current_execution_count == 2
    assert found.birth_date is not None
    assert abs(found.birth_date - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=5)  # noqa: TID251
    assert WorkerView.find_by_key("rq:worker:r4") is None  # stopped


def test_a_worker_reads_itself_again(stage: Stage) -> None:
    known = WorkerView.find_by_key("rq:worker:r2")
    fresh = WorkerView([], name="r2", prepare_for_work=False)
    assert known is not None
    assert (known.get_state(), fresh.get_state()) == ("idle", "?")

    stage.storage.set_runner_state("r2", 1, RunnerState.DRAINING)
    SOURCE.close()
    known.refresh()
    fresh.refresh()

    assert (known.get_state(), fresh.get_state()) == ("draining", "draining")


def test_one_snapshot_serves_a_screen(monkeypatch: pytest.MonkeyPatch, empty: Stage) -> None:
    taken: list[Snapshot] = []

    def take(_service: object) -> Snapshot:
        taken.append(Snapshot({}, [], capped=False))
        return taken[-1]

    monkeypatch.setattr(source, "take_snapshot", take)
    clock = ManualClock()
    with closing(SnapshotSource(clock)) as snapshots:
        first = snapshots.snapshot()
        clock.advance(MAX_AGE / 2)
        assert snapshots.snapshot() is first
        clock.advance(MAX_AGE / 2)
        assert snapshots.snapshot() is not first
    assert len(taken) == 2


def test_a_failed_read_is_tried_again(monkeypatch: pytest.MonkeyPatch, empty: Stage) -> None:
    with closing(SnapshotSource()) as snapshots:
        with monkeypatch.context() as patched:
            patched.setenv("MQTASKS_URL", "memory://")
            with pytest.raises(ViewError):
                snapshots.snapshot()

        assert snapshots.snapshot().queues == {}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_connects_anew(stage: Stage) -> None:
    assert QueueView("mail").count == 2
    parents = SOURCE._runtime
    reader, writer = os.pipe()

    child = os.fork()
    if not child:
        try:
            count = QueueView("mail").count
            os.write(writer, b"anew" if SOURCE._runtime is not parents else b"shared")
            os.write(writer, b" %d" % count)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        assert answer.read() == b"anew 2"
    os.waitpid(child, 0)
