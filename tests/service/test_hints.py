"""Hints on the wire: what survives the trip, and what is not believed (P5)."""

from __future__ import annotations

import msgspec
import pytest

from mqtasks.model import AsyncTask, TaskMetadata, TaskOptions, TaskStatus
from mqtasks.service.hints import (
    MAX_HINT_BYTES,
    decode_allocated,
    decode_revoked,
    encode_allocated,
    encode_revoked,
)


def a_task(number: int, context: bytes = b"", **options: object) -> AsyncTask:
    return AsyncTask(
        id=number,
        metadata=TaskMetadata(f"täsk-{number}", 7, context, msgspec.convert(options, TaskOptions)),
        parent_task_id="parent",
        status=TaskStatus.RUNNING,
        runner="r1",
        generation=3,
        epoch=2,
        attempt=1,
        crashes=1,
        reassigned=4,
        priority=-5,
        lane=2**62,
        run_at=1_700_000_000_000,
        created_at=1_700_000_000_001,
        progress=b"half",
    )


def test_rows_survive_the_trip_whole() -> None:
    tasks = [a_task(1), a_task(2, b"\x00\xff", timeout=3, labels={"zone": "eu"}, tags=("a",))]

    [payload] = encode_allocated("r1", 3, tasks, sent_at_ms=99)
    hint = decode_allocated(payload, "r1")

    assert hint is not None
    assert (hint.generation, hint.sent_at_ms, list(hint.tasks)) == (3, 99, tasks)


def test_large_batches_are_split_within_the_limit() -> None:
    tasks = [a_task(n, b"x" * 1000) for n in range(600)]

    payloads = list(encode_allocated("r1", 3, tasks, sent_at_ms=1))
    hints = [decode_allocated(payload, "r1") for payload in payloads]

    assert len(payloads) > 1
    assert max(len(payload) for payload in payloads) <= MAX_HINT_BYTES
    assert [task for hint in hints if hint for task in hint.tasks] == tasks


def test_a_task_too_large_for_a_hint_sends_an_empty_one() -> None:
    payloads = list(encode_allocated("r1", 3, [a_task(1, b"x" * MAX_HINT_BYTES)], sent_at_ms=1))

    assert [decode_allocated(p, "r1").tasks for p in payloads] == [()]  # type: ignore[union-attr]


def test_p5_a_forged_hint_is_not_believed() -> None:
    key = b"secret"
    [signed] = encode_allocated("r1", 3, [a_task(1)], sent_at_ms=1, key=key)
    [unsigned] = encode_allocated("r1", 3, [a_task(1)], sent_at_ms=1)
    tampered = signed[:-1] + bytes([signed[-1] ^ 1])

    assert decode_allocated(signed, "r1", key) is not None
    assert decode_allocated(unsigned, "r1", key) is None
    assert decode_allocated(tampered, "r1", key) is None
    assert decode_revoked(encode_revoked([1]), key) is None


def test_p5_a_hint_for_another_runner_is_not_believed() -> None:
    [payload] = encode_allocated("r1", 3, [a_task(1)], sent_at_ms=1)

    assert decode_allocated(payload, "r2") is None


@pytest.mark.parametrize(
    "payload", [b"", b"\x01", b"\x02" + bytes(40), b"\x01" + bytes(32) + b"nonsense"]
)
def test_p5_nonsense_is_not_believed(payload: bytes) -> None:
    assert decode_allocated(payload, "r1") is None
    assert decode_revoked(payload) is None


def test_p5_an_oversize_hint_is_not_believed() -> None:
    [payload] = encode_allocated("r1", 3, [a_task(1)], sent_at_ms=1)

    assert decode_allocated(payload + bytes(MAX_HINT_BYTES), "r1") is None


def test_a_revocation_survives_the_trip() -> None:
    hint = decode_revoked(encode_revoked([1, 2], give_back=3, key=b"k"), b"k")

    assert hint is not None
    assert (hint.task_ids, hint.give_back) == ((1, 2), 3)
