"""Text is compared byte by byte, and comes back as it was (P11)."""

from __future__ import annotations

import pytest

from mqtasks.conditions import where
from mqtasks.errors import InvalidArgument
from mqtasks.model import AttemptOutcome, ExecuteResult, ResultCode, RunnerRecord
from mqtasks.storage.contract import Completion, RetryRequest
from tests.support.stage import LEASE_MS, new, row

LOOKALIKES = [
    "task",
    "Task",
    "TASK",
    "tásk",
    "ta\u0301sk",  # the same letter and accent as two code points
    "task ",
    " task",
    "task\0",
    "\0task",
    "task\t",
    "tas𝐤",
    "task😀",
    "task😁",
    "straße",
    "strasse",
    "İ",
    "i̇",
    "ﬀ",
    "ff",
    "\u03a9",
    "\u2126",  # OHM SIGN, which normalisation turns into the letter before
]


def test_p11_ids_that_look_alike_are_different(stage):
    answers = stage.storage.create_tasks([new(name) for name in LOOKALIKES])
    assert all(item.is_new for item in answers)
    assert len({item.task_id for item in answers}) == len(LOOKALIKES)
    again = stage.storage.create_tasks([new(name) for name in reversed(LOOKALIKES)])
    assert not any(item.is_new for item in again)
    assert [item.task_id for item in again] == [item.task_id for item in reversed(answers)]
    found = stage.storage.find(LOOKALIKES)
    assert [found[name].metadata.id for name in LOOKALIKES] == LOOKALIKES


def test_p11_conditions_tell_lookalikes_apart(stage):
    stage.add(*(row(name, name, parent_task_id=name, runner=name) for name in LOOKALIKES))
    for name in LOOKALIKES:
        for field in (where.metadata_id, where.executor, where.parent_task_id, where.runner):
            (found,) = stage.storage.query(field == name)
            assert found.metadata.id == name


def test_p11_text_is_ordered_by_its_bytes(stage):
    stage.add(*(row(name) for name in LOOKALIKES))
    for pivot in LOOKALIKES:
        below = {item.metadata.id for item in stage.storage.query(where.metadata_id < pivot)}
        assert below == {name for name in LOOKALIKES if name.encode() < pivot.encode()}


def test_p11_runners_and_leases_that_look_alike_are_different(stage):
    for name in LOOKALIKES:
        assert stage.register(name) == 1
        assert stage.storage.acquire_lease(name, name, LEASE_MS).term == 1
    assert [item.id for item in stage.storage.runners()] == sorted(LOOKALIKES)
    assert [stage.storage.lease(name).holder for name in LOOKALIKES] == LOOKALIKES


@pytest.mark.parametrize("text", ["x" * 255, "é" * 127 + "x", "😀" * 63 + "abc"], ids=len)
def test_p11_255_bytes_are_kept_whole(stage, text):
    assert len(text.encode()) == 255
    stage.add(row(text, text, parent_task_id=text, runner=text))
    (task,) = stage.storage.query(where.metadata_id == text, where.runner == text)
    assert (task.metadata.id, task.metadata.executor) == (text, text)
    assert (task.parent_task_id, task.runner) == (text, text)
    assert stage.register(text) == 1
    assert [item.id for item in stage.storage.runners()] == [text]


@pytest.mark.parametrize("text", ["x" * 256, "é" * 128, "😀" * 64, "\ud800"], ids=len)
def test_p11_256_bytes_are_refused_not_cut(stage, text):
    with pytest.raises(InvalidArgument, match=r"metadata\.id"):
        stage.storage.create_tasks([new(text)])
    with pytest.raises(InvalidArgument, match="executor"):
        stage.storage.create_tasks([new("t", text)])
    with pytest.raises(InvalidArgument, match="parent_task_id"):
        stage.storage.create_tasks([new("t", parent=text)])
    with pytest.raises(InvalidArgument, match="runner"):
        stage.storage.add(row("t", runner=text))
    with pytest.raises(InvalidArgument, match="runner"):
        stage.storage.register_runner(RunnerRecord(id=text), LEASE_MS, 3)
    assert stage.storage.query() == []
    assert stage.storage.runners() == []


def test_p11_executor_numbers_are_ordered_as_numbers_and_come_back_as_ints(stage):
    numbers = [0, 2, 9, 10, 100, 2**32 - 1]
    stage.add(*(row(f"t{number}", number) for number in reversed(numbers)))
    for pivot in numbers:
        above = [item.metadata.executor for item in stage.storage.query(where.executor > pivot)]
        assert sorted(above) == [number for number in numbers if number > pivot]
    (task,) = stage.storage.query(where.executor == 2)
    assert task.metadata.executor == 2
    assert isinstance(task.metadata.executor, int)
    with pytest.raises(InvalidArgument, match="digits"):
        stage.storage.create_tasks([new("t", "2")])


def test_payloads_results_and_progress_are_bytes_as_given(stage):
    payload = bytes(range(256)) * 300
    (task,) = stage.running("t1", "t2")[:1]
    (other,) = stage.storage.create_tasks([new("t3", context=payload)])
    assert stage.task(other.task_id).metadata.context == payload
    assert stage.storage.save_progress("r1", task, payload)
    assert stage.task(task.task_id).progress == payload
    stage.complete([task], ExecuteResult(value=payload))
    assert stage.task(task.task_id).execute_result == ExecuteResult(value=payload)


def test_long_error_texts_are_kept_whole(stage):
    long = "é😀 line\n" * 15_000
    first, second = stage.running("t1", "t2")
    failure = ExecuteResult(ResultCode.FAILED, long)
    stage.storage.complete_many(
        "r1", [Completion(first.task_id, 1, failure, 0, long, AttemptOutcome.TIMED_OUT)]
    )
    stage.storage.retry_many("r1", [RetryRequest(second.task_id, 1, 0, long, long)])
    assert stage.task(first.task_id).execute_result == failure
    for task in (first, second):
        attempt = stage.attempt(task.task_id)
        assert (attempt.error, attempt.traceback) == (long, long)


def test_an_error_text_that_is_not_valid_unicode_still_ends_the_attempt(stage):
    """An exception may name a file that is not UTF-8; its task must not become endless."""
    odd = "no such file: \udcff\0"
    shown = "no such file: \\udcff\0"
    first, second, third = stage.running("t1", "t2", "t3")
    stage.complete([first], ExecuteResult(ResultCode.FAILED, odd), traceback=odd)
    stage.storage.retry_many("r1", [RetryRequest(second.task_id, 1, 0, odd, odd)])
    stage.storage.release_many("r1", [third], odd)
    assert stage.task(first.task_id).execute_result.error == shown
    attempts = [stage.attempt(item.task_id) for item in (first, second, third)]
    assert [item.error for item in attempts] == [shown] * 3
    assert [item.traceback for item in attempts] == [shown, shown, ""]
