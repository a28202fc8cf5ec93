"""Hints on the wire: what a notifier carries, and what a receiver may believe.

A hint may be lost, doubled, late or forged without harm. The one hint that carries data is
``allocated``: rows that were just given to a runner, so that it need not fetch them. A receiver
uses them only if they are young, of its own generation, within the size limit and, when a key is
configured, signed (P5). Anything else is worth no more than "fetch now".

Layout: one version byte, 32 bytes of HMAC-SHA256 (zeros without a key), MessagePack.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from mqtasks.model import (
    AsyncTask,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
    executor_code,
    executor_value,
    options_from_bytes,
    options_to_bytes,
)

MAX_HINT_BYTES: Final = 256 * 1024
"""Hints over this size are not believed, and not sent: larger batches are split."""

_VERSION: Final = b"\x01"
_DIGEST_BYTES: Final = 32
_HEADER_BYTES: Final = 1 + _DIGEST_BYTES
_ROW_OVERHEAD_BYTES: Final = 160
_UNSIGNED: Final = bytes(_DIGEST_BYTES)


class _Row(msgspec.Struct, array_like=True, gc=False):
    id: int
    metadata_id: str
    executor: str
    context: bytes
    options: bytes
    parent_task_id: str
    epoch: int
    attempt: int
    crashes: int
    reassigned: int
    priority: int
    lane: int
    run_at: int
    created_at: int
    progress: bytes


class _Allocated(msgspec.Struct, array_like=True, gc=False):
    generation: int
    sent_at_ms: int
    runner_id: str
    rows: list[_Row]


class _Revoked(msgspec.Struct, array_like=True, gc=False):
    task_ids: list[int]
    give_back: int


class AllocatedHint(msgspec.Struct, frozen=True):
    """Rows given to ``generation`` of a runner; ``sent_at_ms`` is the sender's database time."""

    generation: int
    sent_at_ms: int
    tasks: tuple[AsyncTask, ...]


class RevokedHint(msgspec.Struct, frozen=True):
    """Look at these tasks at once (canceled or taken away); give back that many unstarted ones."""

    task_ids: tuple[int, ...] = ()
    give_back: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode_allocated = msgspec.msgpack.Decoder(_Allocated).decode
_decode_revoked = msgspec.msgpack.Decoder(_Revoked).decode


def encode_allocated(
    runner_id: str,
    generation: int,
    tasks: Sequence[AsyncTask],
    sent_at_ms: int,
    key: bytes = b"",
) -> Iterator[bytes]:
    """Yield hints that carry ``tasks``, each within MAX_HINT_BYTES.

    ``tasks`` are as after the allocation: epoch raised, runner and generation filled in. A task
    too large for any hint is carried by an empty one, which makes the runner fetch.
    """
    for chunk in _chunks(tasks):
        body = _encode(_Allocated(generation, sent_at_ms, runner_id, [_row(t) for t in chunk]))
        yield _seal(body, key)


def decode_allocated(payload: bytes, runner_id: str, key: bytes = b"") -> AllocatedHint | None:
    """Return what an ``allocated`` hint carries, or None if it cannot be believed.

    The caller still compares generation and age: see P5.
    """
    body = _open(payload, key)
    if body is None:
        return None
    try:
        wire = _decode_allocated(body)
        if wire.runner_id != runner_id:
            return None
        generation = wire.generation
        tasks = tuple(_task(row, runner_id, generation) for row in wire.rows)
    except (msgspec.MsgspecError, ValueError):
        return None
    return AllocatedHint(generation, wire.sent_at_ms, tasks)


def encode_revoked(task_ids: Sequence[int] = (), give_back: int = 0, key: bytes = b"") -> bytes:
    """Return a ``revoked`` hint."""
    return _seal(_encode(_Revoked(list(task_ids), give_back)), key)


def decode_revoked(payload: bytes, key: bytes = b"") -> RevokedHint | None:
    """Return what a ``revoked`` hint says, or None if it cannot be believed."""
    body = _open(payload, key)
    if body is None:
        return None
    try:
        wire = _decode_revoked(body)
    except msgspec.MsgspecError:
        return None
    return RevokedHint(tuple(wire.task_ids), max(0, wire.give_back))


def _chunks(tasks: Sequence[AsyncTask]) -> Iterator[list[AsyncTask]]:
    room = MAX_HINT_BYTES - _HEADER_BYTES - 512
    chunk: list[AsyncTask] = []
    size = 0
    for task in tasks:
        metadata = task.metadata
        # An upper bound: a character is at most four bytes of UTF-8.
        cost = (
            _ROW_OVERHEAD_BYTES
            + len(metadata.context)
            + len(task.progress)
            + 4 * (len(metadata.id) + len(task.parent_task_id))
            + 4 * (len(metadata.executor) if isinstance(metadata.executor, str) else 10)
        )
        if _has_texts(metadata.options):
            cost += len(options_to_bytes(metadata.options))
        else:
            cost += 512
        if cost > room:
            yield []
            continue
        if size + cost > room:
            yield chunk
            chunk, size = [], 0
        chunk.append(task)
        size += cost
    if chunk:
        yield chunk


def _has_texts(options: TaskOptions) -> bool:
    return bool(
        options.labels
        or options.tags
        or options.concurrency_key
        or options.tenant
        or options.resources
    )


def _row(task: AsyncTask) -> _Row:
    metadata = task.metadata
    return _Row(
        task.id,
        metadata.id,
        executor_code(metadata.executor),
        metadata.context,
        options_to_bytes(metadata.options),
        task.parent_task_id,
        task.epoch,
        task.attempt,
        task.crashes,
        task.reassigned,
        task.priority,
        task.lane,
        task.run_at,
        task.created_at,
        task.progress,
    )


def _task(row: _Row, runner_id: str, generation: int) -> AsyncTask:
    return AsyncTask(
        id=row.id,
        metadata=TaskMetadata(
            row.metadata_id,
            executor_value(row.executor),
            row.context,
            options_from_bytes(row.options),
        ),
        parent_task_id=row.parent_task_id,
        status=TaskStatus.RUNNING,
        runner=runner_id,
        generation=generation,
        epoch=row.epoch,
        attempt=row.attempt,
        crashes=row.crashes,
        reassigned=row.reassigned,
        priority=row.priority,
        lane=row.lane,
        run_at=row.run_at,
        created_at=row.created_at,
        progress=row.progress,
    )


def _seal(body: bytes, key: bytes) -> bytes:
    return b"".join((_VERSION, _digest(body, key), body))


def _open(payload: bytes, key: bytes) -> bytes | None:
    if not _HEADER_BYTES < len(payload) <= MAX_HINT_BYTES or payload[:1] != _VERSION:
        return None
    body = payload[_HEADER_BYTES:]
    if key and not hmac.compare_digest(payload[1:_HEADER_BYTES], _digest(body, key)):
        return None
    return body


def _digest(body: bytes, key: bytes) -> bytes:
    return hmac.digest(key, body, "sha256") if key else _UNSIGNED
