"""What limits and rates still let through: one decision for all storages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mqtasks.model import LaneSignature, RateLimit
from mqtasks.storage.contract import (
    ExecutorLimit,
    KeyLimit,
    Limit,
    RateRule,
    executor_bucket,
    key_bucket,
)
from mqtasks.storage.reservations import Reservations


class Quota:
    """Admits tasks one by one. Pure; of two limits, or rates, for one thing the lower holds."""

    def __init__(
        self,
        limits: Sequence[Limit],
        live_executors: Mapping[str, int],
        live_keys: Mapping[str, int],
        reservations: Reservations,
        *,
        buckets: Mapping[str, int],
        now_us: int,
    ) -> None:
        """Start from live tasks by executor and key, and buckets as they are stored.

        ``reservations`` has been told the live tasks of its runners.
        """
        self._executors: dict[str, int] = {}
        self._keys: dict[str, int] = {}
        self._rates: dict[str, RateLimit] = {}
        for limit in limits:
            if isinstance(limit, ExecutorLimit):
                left = limit.most - live_executors.get(limit.executor, 0)
                _lower(self._executors, limit.executor, left)
            elif isinstance(limit, KeyLimit):
                _lower(self._keys, limit.key, limit.most - live_keys.get(limit.key, 0))
            elif isinstance(limit, RateRule):
                known = self._rates.get(limit.bucket, limit.rate)
                self._rates[limit.bucket] = min(known, limit.rate, key=lambda rate: rate.per_second)
        self._reservations = reservations
        self._buckets = buckets
        self._now_us = now_us
        self._tokens = {
            bucket: rate.tokens(buckets.get(bucket, 0), now_us)
            for bucket, rate in self._rates.items()
        }
        self._taken: dict[str, int] = {}

    def admits(self, runner_id: str, signature: LaneSignature) -> bool:
        """Return whether a runner may be given one more task; take room and tokens if so."""
        executor, key = signature.executor, signature.key
        if not self._reservations.fits(runner_id, signature):
            return False
        if self._executors.get(executor, 1) <= 0 or (key and self._keys.get(key, 1) <= 0):
            return False
        buckets = [executor_bucket(executor)]
        if key:
            buckets.append(key_bucket(key))
        buckets = [bucket for bucket in buckets if bucket in self._rates]
        if any(self._tokens[bucket] <= 0 for bucket in buckets):
            return False
        if executor in self._executors:
            self._executors[executor] -= 1
        if key in self._keys:
            self._keys[key] -= 1
        for bucket in buckets:
            self._tokens[bucket] -= 1
            self._taken[bucket] = self._taken.get(bucket, 0) + 1
        self._reservations.take(runner_id, signature)
        return True

    def moves(self, runner_id: str, signature: LaneSignature) -> bool:
        """Return whether a live task, counted already, may change to a runner; take its room."""
        if not self._reservations.fits(runner_id, signature):
            return False
        self._reservations.take(runner_id, signature)
        return True

    def changed(self) -> dict[str, int]:
        """Return the buckets that tokens were taken from, as they are to be stored."""
        return {
            bucket: self._rates[bucket].take(self._buckets.get(bucket, 0), self._now_us, count)
            for bucket, count in sorted(self._taken.items())
        }


def buckets_of(limits: Sequence[Limit]) -> list[str]:
    """Return the buckets that these limits need, sorted."""
    return sorted({limit.bucket for limit in limits if isinstance(limit, RateRule)})


def needs_keys(limits: Sequence[Limit]) -> bool:
    """Return whether the live tasks of keys must be counted."""
    return any(isinstance(limit, KeyLimit) for limit in limits)


def _lower(room: dict[str, int], name: str, left: int) -> None:
    room[name] = min(left, room.get(name, left))
