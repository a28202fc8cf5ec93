"""Lanes: tasks that are placed alike share one, so that one backlog cannot hide another.

The lane of a task is a 63 bit hash (BLAKE2b) of its *signature*: executor, concurrency limit,
labels and reserved resources. It leads the hot index after status and runner, so the allocator
reads only the heads of lanes that have room. Two signatures in one lane would need a collision of
63 bits; the allocator takes the signature of a lane from its first row, so such a pair would be
placed by the rules of one of them.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from mqtasks.model.task import DEFAULT_OPTIONS, AsyncTask, TaskMetadata, executor_code

_encode = msgspec.json.Encoder(order="sorted").encode
_cache: dict[str, int] = {}
_CACHE_LIMIT = 4096


class LaneSignature(msgspec.Struct, frozen=True):
    """What decides where a task may run and how many like it may be live."""

    executor: str
    """Stored form of the code, see `executor_code`."""
    concurrency: int = 0
    labels: tuple[tuple[str, str], ...] = ()
    cpu: float = 0.0
    memory: int = 0


def signature_of(metadata: TaskMetadata) -> LaneSignature:
    """Return the placement signature of a task."""
    options = metadata.options
    return LaneSignature(
        executor_code(metadata.executor),
        options.concurrency,
        tuple(sorted(options.labels.items())),
        float(options.cpu),
        options.memory,
    )


def lane_of(metadata: TaskMetadata) -> int:
    """Return the lane of a task: 1 to 2**63 - 1. Lane 0 is for rows that are not due yet."""
    plain = metadata.options is DEFAULT_OPTIONS and isinstance(metadata.executor, str)
    if plain:
        cached = _cache.get(metadata.executor)  # type: ignore[arg-type]
        if cached is not None:
            return cached
    lane = hash_signature(signature_of(metadata))
    if plain and len(_cache) < _CACHE_LIMIT:
        _cache[metadata.executor] = lane  # type: ignore[index]
    return lane


def hash_signature(signature: LaneSignature) -> int:
    """Return the lane of a signature."""
    digest = blake2b(_encode(signature), digest_size=8).digest()
    return (int.from_bytes(digest) >> 1) or 1


def signature_of_task(task: AsyncTask) -> LaneSignature:
    """Return the placement signature of a stored task."""
    return signature_of(task.metadata)
