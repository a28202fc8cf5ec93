"""What pauses, limits and rates leave open in one scheduling pass. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from mqtasks.model import LaneSignature, RateLimit
from mqtasks.scheduler.paused import NOTHING, Paused
from mqtasks.scheduler.unplaced import Reason, Unplaced
from mqtasks.storage.contract import (
    ExecutorLimit,
    KeyLimit,
    Limit,
    RateRule,
    executor_bucket,
    key_bucket,
)


class Openings:
    """Live tasks by executor and key, and token buckets; placing uses up what is left."""

    def __init__(
        self,
        executor_live: Mapping[str, int] | None = None,
        key_live: Mapping[str, int] | None = None,
        paused: Paused = NOTHING,
    ) -> None:
        """Start from what is live and paused; every bucket counts as full until `see_buckets`."""
        self.executor_live = dict(executor_live or {})
        self.key_live = dict(key_live or {})
        self._paused = paused
        self._buckets: dict[str, int] = {}
        self._now_us = 0
        self.token_in_us: int | None = None
        """Microseconds until the first token comes that something was found to lack."""

    def see_buckets(self, buckets: Mapping[str, int], now_us: int) -> None:
        """Take token buckets as they are stored, and the database's clock."""
        self._buckets = dict(buckets)
        self._now_us = now_us

    def left(self, signature: LaneSignature) -> int | None:
        """Return how many more tasks of a signature may be given; None = no limit."""
        if self._paused.holding(signature) is not None:
            return 0
        if not signature.limited:
            return None
        lefts = []
        if signature.concurrency:
            lefts.append(signature.concurrency - self.executor_live.get(signature.executor, 0))
        if signature.key_concurrency:
            lefts.append(signature.key_concurrency - self.key_live.get(signature.key, 0))
        if not lefts or min(lefts) > 0:
            for bucket, rate in rates_of(signature):
                used = self._buckets.get(bucket, 0)
                tokens = rate.tokens(used, self._now_us)
                lefts.append(tokens)
                if tokens <= 0:
                    self._note_wait(rate, used)
        return max(0, min(lefts))

    def take(self, signature: LaneSignature, count: int) -> None:
        """Count tasks that were placed."""
        if not count:
            return
        live, keys = self.executor_live, self.key_live
        live[signature.executor] = live.get(signature.executor, 0) + count
        if signature.key:
            keys[signature.key] = keys.get(signature.key, 0) + count
        for bucket, rate in rates_of(signature):
            used = self._buckets.get(bucket, 0)
            used = self._buckets[bucket] = rate.take(used, self._now_us, count)
            if rate.tokens(used, self._now_us) <= 0:
                self._note_wait(rate, used)  # its lane may hold more than was read

    def _note_wait(self, rate: RateLimit, used: int) -> None:
        wait = rate.next_token_us(used, self._now_us)
        self.token_in_us = wait if self.token_in_us is None else min(wait, self.token_in_us)

    def explain(self, signature: LaneSignature) -> Unplaced | None:
        """Return which pause holds, or which limit or rate is used up; None if none is."""
        paused = self._paused.explain(signature)
        if paused is not None:
            return paused
        live = self.executor_live.get(signature.executor, 0)
        if signature.concurrency and live >= signature.concurrency:
            return Unplaced(
                Reason.CONCURRENCY,
                f"{live} of {signature.concurrency} tasks of {signature.executor!r} are live",
            )
        live = self.key_live.get(signature.key, 0)
        if signature.key_concurrency and live >= signature.key_concurrency:
            return Unplaced(
                Reason.KEY_CONCURRENCY,
                f"{live} of {signature.key_concurrency} tasks with key {signature.key!r} are live",
            )
        for bucket, rate in rates_of(signature):
            used = self._buckets.get(bucket, 0)
            if rate.tokens(used, self._now_us) <= 0:
                seconds = rate.next_token_us(used, self._now_us) / 1_000_000
                return Unplaced(
                    Reason.RATE, f"{bucket} is limited to {rate}, the next in {seconds:.3f} s"
                )
        return None


def rates_of(signature: LaneSignature) -> Iterator[tuple[str, RateLimit]]:
    """Yield the token buckets that a task of a signature takes from, and their rates."""
    if signature.rate is not None:
        yield executor_bucket(signature.executor), signature.rate
    if signature.key_rate is not None and signature.key:
        yield key_bucket(signature.key), signature.key_rate


def limits_of(signatures: Iterable[LaneSignature]) -> list[Limit]:
    """Return the limits of one transaction; of two for one thing the lower is the one."""
    executors: dict[str, int] = {}
    keys: dict[str, int] = {}
    rates: dict[str, RateLimit] = {}
    for signature in signatures:
        if not signature.limited:
            continue
        if signature.concurrency:
            known = executors.get(signature.executor, signature.concurrency)
            executors[signature.executor] = min(known, signature.concurrency)
        if signature.key_concurrency:
            known = keys.get(signature.key, signature.key_concurrency)
            keys[signature.key] = min(known, signature.key_concurrency)
        for bucket, rate in rates_of(signature):
            slower = rates.get(bucket, rate)
            rates[bucket] = min(slower, rate, key=lambda item: item.per_second)
    return [
        *(ExecutorLimit(name, most) for name, most in sorted(executors.items())),
        *(KeyLimit(name, most) for name, most in sorted(keys.items())),
        *(RateRule(name, rate) for name, rate in sorted(rates.items())),
    ]
