"""The reference's service operations, and the order of commit and hint."""

from __future__ import annotations

import threading

import pytest

from mqtasks.clock import ManualClock
from mqtasks.conditions import where
from mqtasks.coordination.base import Notifier
from mqtasks.coordination.local import LocalNotifier
from mqtasks.debug import debug_ctl_task_framework
from mqtasks.errors import InvalidArgument, InvalidTask, PayloadTooLarge, TaskNotFound
from mqtasks.model import ExecuteResult, ResultCode, TaskMetadata, TaskStatus
from mqtasks.service import TaskService
from mqtasks.service.hints import decode_allocated, decode_revoked
from mqtasks.storage.factory import storage_from_url
from mqtasks.storage.memory import MemoryTaskStorage


def metadata(name: str = "a", executor: int | str = 7) -> TaskMetadata:
    return TaskMetadata(name, executor, b"payload")


def test_create_is_idempotent_by_metadata_id(service: TaskService) -> None:
    first = service.create(metadata("a"))
    again = service.create(metadata("a"))

    assert first == again
    assert len(service.query_task()) == 1


def test_create_batch_answers_in_the_order_given(service: TaskService) -> None:
    known = service.create(metadata("b"))

    ids = service.create_batch([metadata("c"), metadata("b"), metadata("a")])

    assert ids[1] == known
    assert [service.get(number).metadata.id for number in ids] == ["c", "b", "a"]


def test_oversize_and_wrong_input_write_nothing(service: TaskService) -> None:
    with pytest.raises(PayloadTooLarge, match="limit is 1048576"):
        service.create(TaskMetadata("big", 7, bytes(1024 * 1024 + 1)))
    with pytest.raises(InvalidArgument, match="256 bytes of UTF-8"):
        service.create(metadata("x" * 256))
    with pytest.raises(InvalidArgument, match="executor"):
        service.create(metadata("a", -1))

    assert service.query_task() == []


def test_p1_allocate_writes_the_next_epoch_and_compares_the_old_one(service: TaskService) -> None:
    created = service.get(service.create(metadata()))

    first = service.allocate(created, "r1")
    second = service.allocate(first, "r2")

    assert (first.status, first.runner, first.epoch) == (TaskStatus.RUNNING, "r1", 1)
    assert (second.runner, second.epoch) == ("r2", 2)
    with pytest.raises(InvalidTask):
        service.allocate(created, "r3")


def test_complete_demands_this_runner_and_epoch(service: TaskService) -> None:
    task = service.allocate(service.get(service.create(metadata())), "r1")
    stolen = service.allocate(task, "r2")
    done = ExecuteResult(ResultCode.SUCCESS, value=b"42")

    with pytest.raises(InvalidTask):
        service.complete("r1", task, done)
    service.complete("r2", stolen, done)
    service.complete("r2", stolen, done)  # repeated after an unknown outcome

    ended = service.get(task.id)
    assert (ended.status, ended.execute_result) == (TaskStatus.COMPLETED, done)


def test_heartbeat_refuses_an_old_epoch_and_a_cancellation(service: TaskService) -> None:
    task = service.allocate(service.get(service.create(metadata())), "r1")
    service.heartbeat(task)
    assert service.heartbeats.alive_tasks([task.id]) == frozenset({task.id})

    service.cancel(task.id)
    with pytest.raises(InvalidTask, match="cancellation"):
        service.heartbeat(task)
    stolen = service.get(service.create(metadata("b")))
    old = service.allocate(stolen, "r1")
    service.allocate(old, "r2")
    with pytest.raises(InvalidTask):
        service.heartbeat(old)


def test_cancel_and_requeue(service: TaskService) -> None:
    waiting, running = (service.get(n) for n in service.create_batch([metadata("w"), metadata()]))
    running = service.allocate(running, "r1")
    revoked: list[bytes] = []
    service.notifier.subscribe([service.keys.revoked("r1")], lambda _, p: revoked.append(p))

    report = service.cancel(waiting.id, running.id, 999)

    assert report.canceled == (waiting.id,)
    assert report.requested == ((running.id, "r1"),)
    assert report.ignored == (999,)
    assert [decode_revoked(p).task_ids for p in revoked] == [(running.id,)]  # type: ignore[union-attr]
    assert service.requeue(waiting.id, running.id) == (waiting.id,)
    assert service.get(waiting.id).status is TaskStatus.CREATED


def test_get_names_the_missing_task(service: TaskService) -> None:
    with pytest.raises(TaskNotFound, match="12345"):
        service.get(12345)


def test_hints_come_after_the_commit(service: TaskService) -> None:
    seen: list[int] = []
    heard = threading.Event()

    def look(channel: str, payload: bytes) -> None:
        seen.append(len(service.query_task(where.metadata_id == "a")))
        heard.set()

    service.notifier.subscribe([service.keys.created], look)
    service.create(metadata("a"))

    assert heard.wait(5)
    assert seen[0] == 1


def test_an_allocated_hint_carries_the_row(service: TaskService) -> None:
    payloads: list[bytes] = []
    service.notifier.subscribe([service.keys.allocated("r1")], lambda _, p: payloads.append(p))
    task = service.allocate(service.get(service.create(metadata())), "r1")

    [hint] = [decode_allocated(payload, "r1") for payload in payloads]

    assert hint is not None
    assert [(t.id, t.epoch, t.runner, t.status) for t in hint.tasks] == [
        (task.id, 1, "r1", TaskStatus.RUNNING)
    ]


def test_a_notifier_that_fails_fails_no_write(clock: ManualClock) -> None:
    notifier: Notifier = LocalNotifier()
    notifier.close()
    service = TaskService(MemoryTaskStorage(clock), notifier, clock=clock)

    task = service.allocate(service.get(service.create(metadata())), "r1")
    service.complete("r1", task, ExecuteResult())

    assert service.get(task.id).status is TaskStatus.COMPLETED
    service.close()
    service.close()


def test_a_framework_that_is_switched_off_creates_nothing(sqlite_url: str) -> None:
    with TaskService(storage_from_url(sqlite_url)) as service:
        debug_ctl_task_framework(True)
        try:
            assert service.create(metadata("a")) == 0
            assert service.create_batch([metadata("b"), metadata("c")]) == [0, 0]
        finally:
            debug_ctl_task_framework(False)

        assert service.query_task() == []
        assert service.create(metadata("a")) > 0
