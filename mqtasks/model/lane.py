"""Lanes: tasks that are placed alike share one, so that one backlog cannot hide another.

The lane of a task is a hash (BLAKE2b) of its *signature*: executor, limits and rates, key, tenant,
labels and reserved resources. It leads the hot index after status and runner, so the allocator
reads only the heads of lanes that have room. Its upper 13 bits are a hash of the tenant alone, so
that the lanes of a tenant lie side by side and can be stepped over, however many they are. Two
signatures in one lane would need a collision of the 50 other bits; the allocator takes the
signature of a lane from its first row, so such a pair would be placed by the rules of one of them.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import msgspec

from mqtasks.model.rate import RateLimit
from mqtasks.model.task import (
    DEFAULT_OPTIONS,
    AsyncTask,
    TaskMetadata,
    TaskOptions,
    executor_code,
)

_encode = msgspec.json.Encoder(order="sorted").encode
_cache: dict[str, int] = {}
_CACHE_LIMIT = 4096
_GROUP_BITS: Final = 13
_REST_BITS: Final = 63 - _GROUP_BITS
_REST: Final = (1 << _REST_BITS) - 1


class LaneSignature(msgspec.Struct, frozen=True):
    """What decides where a task may run and how many like it may be live."""

    executor: str
    """Stored form of the code, see `executor_code`."""
    concurrency: int = 0
    labels: tuple[tuple[str, str], ...] = ()
    """Labels the runner must have with this value, sorted."""
    cpu: float = 0.0
    memory: int = 0
    key: str = ""
    key_concurrency: int = 0
    """0 = no limit."""
    rate: RateLimit | None = None
    """Of the executor."""
    key_rate: RateLimit | None = None
    tenant: str = ""
    rules: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """Other label rules: label, operator, values; sorted."""
    resources: tuple[tuple[str, float], ...] = ()
    priority: int = 0
    """So that a lane is first come, first served: ageing compares lanes by their first task."""

    @property
    def limited(self) -> bool:
        """Whether a limit or a rate holds for its tasks, so that they never wait at a runner."""
        return bool(self.concurrency or self.key_concurrency or self.rate or self.key_rate)

    @property
    def reserves(self) -> bool:
        """Whether its tasks reserve something of their runner."""
        return bool(self.cpu or self.memory or self.resources)


_ALWAYS: Final = ("executor", "concurrency", "labels", "cpu", "memory")
"""Always part of the hash; what came later is only where it is set, so that lanes stay."""
_LATER: Final = tuple(
    (name, default)
    for name, default in zip(
        LaneSignature.__struct_fields__[len(_ALWAYS) :],
        LaneSignature.__struct_defaults__[len(_ALWAYS) - 1 :],
        strict=True,
    )
)


def signature_of(metadata: TaskMetadata) -> LaneSignature:
    """Return the placement signature of a task."""
    options = metadata.options
    executor = executor_code(metadata.executor)
    if options is DEFAULT_OPTIONS:
        return LaneSignature(executor)
    equal, rules = _labels(options)
    most = options.key_concurrency
    return LaneSignature(
        executor,
        options.concurrency,
        equal,
        float(options.cpu),
        options.memory,
        options.concurrency_key,
        (1 if most is None else most) if options.concurrency_key else 0,
        None if options.rate_limit is None else RateLimit.of(options.rate_limit),
        None if options.key_rate_limit is None else RateLimit.of(options.key_rate_limit),
        options.tenant,
        rules,
        tuple(sorted((name, float(amount)) for name, amount in options.resources.items())),
        options.priority,
    )


def _labels(
    options: TaskOptions,
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str, tuple[str, ...]], ...]]:
    if not options.labels:
        return (), ()
    equal = []
    rules = []
    for key, wanted in sorted(options.labels.items()):
        if isinstance(wanted, str):
            equal.append((key, wanted))
        else:
            rules.append((key, str(wanted.op), tuple(sorted(set(wanted.values)))))
    return tuple(equal), tuple(rules)


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
    parts: dict[str, Any] = {name: getattr(signature, name) for name in _ALWAYS}
    for name, default in _LATER:
        value = getattr(signature, name)
        if value != default:
            parts[name] = value
    digest = blake2b(_encode(parts), digest_size=8).digest()
    return _first_of_group(signature.tenant) | (int.from_bytes(digest) & _REST) or 1


def last_lane_beside(lane: int) -> int:
    """Return the last lane that the tenant of a lane may have: behind it those of others begin."""
    return lane | _REST


@lru_cache(_CACHE_LIMIT)
def _first_of_group(tenant: str) -> int:
    """Return 0 without a tenant; two tenants in one group are merely not told apart by it."""
    if not tenant:
        return 0
    digest = blake2b(tenant.encode(), digest_size=8).digest()
    return (1 + int.from_bytes(digest) % ((1 << _GROUP_BITS) - 1)) << _REST_BITS


def signature_of_task(task: AsyncTask) -> LaneSignature:
    """Return the placement signature of a stored task."""
    return signature_of(task.metadata)
