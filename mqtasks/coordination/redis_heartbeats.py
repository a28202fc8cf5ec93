"""Liveness keys in Redis. Every key has a time to live, and none is ever read back as truth."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from mqtasks.clock import Clock
from mqtasks.coordination.base import Heartbeats, RunnerBeat, TaskBeat
from mqtasks.coordination.fields import runner_from_hash, runner_to_hash, stats_from_hash
from mqtasks.coordination.link import RedisLink
from mqtasks.coordination.trust import Continuity
from mqtasks.errors import CoordinationUnavailable, MQTasksError

_T = TypeVar("_T")

SENTINEL_TTL_MS: Final = 300_000
"""How long the sentinel outlives the last call of `continuity`."""
_CHUNK: Final = 1_000  # commands per round trip, so that no reply grows without bound


class RedisHeartbeats(Heartbeats):
    """Heartbeats through the link's breaker; ``clock`` measures continuity only."""

    def __init__(self, link: RedisLink, clock: Clock) -> None:
        self._link = link
        link.join(self)
        self._keys = link.keys
        self._watch = Continuity(clock)
        self._closed = False

    def beat_runners(self, beats: Sequence[RunnerBeat], ttl: float) -> bool:
        """Write a hash per runner, two commands each."""
        expiry = _milliseconds(ttl)

        def command(pipeline: Any, beat: RunnerBeat) -> None:
            key = self._keys.runner(beat.runner_id)
            pipeline.hset(key, mapping=runner_to_hash(beat))
            pipeline.pexpire(key, expiry)

        return self._write("beat_runners", beats, command)

    def beat_tasks(self, beats: Sequence[TaskBeat], ttl: float) -> bool:
        """Write a string per task, one command each."""
        expiry = _milliseconds(ttl)

        def command(pipeline: Any, beat: TaskBeat) -> None:
            key, value = self._keys.heartbeat(beat.task_id), f"{beat.runner_id}:{beat.epoch}"
            pipeline.execute_command("SET", key, value, "PX", expiry)  # a third faster than set()

        return self._write("beat_tasks", beats, command)

    def forget_runner(self, runner_id: str) -> bool:
        """Delete a runner's hash."""
        return self._write(
            "forget_runner",
            (runner_id,),
            lambda pipeline, item: pipeline.delete(self._keys.runner(item)),
        )

    def forget_tasks(self, task_ids: Sequence[int]) -> bool:
        """Delete tasks' strings."""
        return self._write(
            "forget_tasks",
            task_ids,
            lambda pipeline, item: pipeline.delete(self._keys.heartbeat(item)),
        )

    def alive_runners(self, runner_ids: Sequence[str]) -> frozenset[str] | None:
        """Return those whose hash exists and will expire: one that never does proves nothing."""
        try:
            ttls = self._read(
                "alive_runners",
                runner_ids,
                lambda pipeline, item: pipeline.pttl(self._keys.runner(item)),
            )
        except MQTasksError:
            return None
        return frozenset(r for r, ttl in zip(runner_ids, ttls, strict=True) if ttl > 0)

    def alive_tasks(self, task_ids: Sequence[int]) -> frozenset[int] | None:
        """Return those whose string exists."""

        def ask(client: Any) -> list[int]:
            alive: list[int] = []
            for chunk in _chunks(task_ids):
                values = client.mget([self._keys.heartbeat(task_id) for task_id in chunk])
                alive += [t for t, value in zip(chunk, values, strict=True) if value is not None]
            return alive

        if not task_ids:
            return frozenset()
        try:
            return frozenset(self._call("alive_tasks", ask))
        except MQTasksError:
            return None

    def runner_details(self, runner_ids: Sequence[str] | None = None) -> list[RunnerBeat]:
        """Return the hashes of live runners, by id; unreadable ones are left out."""
        if runner_ids is None:
            keys = self._call("runner_details", self._scan)
        else:
            keys = [self._keys.runner(runner_id) for runner_id in runner_ids]
        hashes = self._read("runner_details", keys, lambda pipeline, key: pipeline.hgetall(key))
        beats = [beat for fields in hashes if (beat := runner_from_hash(fields)) is not None]
        return sorted(beats, key=lambda beat: beat.runner_id)

    def publish_stats(self, stats: Mapping[str, str | int | float], ttl: float) -> bool:
        """Replace the hash in one transaction, so that no reader sees half of it."""

        def replace(client: Any) -> None:
            pipeline = client.pipeline(transaction=True)
            pipeline.delete(self._keys.stats)
            if stats:
                pipeline.hset(self._keys.stats, mapping=dict(stats))
                pipeline.pexpire(self._keys.stats, _milliseconds(ttl))
            pipeline.execute()

        try:
            self._call("publish_stats", replace)
        except MQTasksError:
            return False
        return True

    def stats(self) -> dict[str, str | int | float]:
        """Return the hash, empty when it has expired."""
        return stats_from_hash(self._call("stats", lambda client: client.hgetall(self._keys.stats)))

    def continuity(self) -> float:
        """Compare run id and sentinel with the last sighting, in one round trip."""

        def sight(client: Any) -> tuple[bytes | None, object]:
            pipeline = client.pipeline(transaction=False)
            pipeline.set(self._keys.sentinel, secrets.token_hex(16), nx=True, px=SENTINEL_TTL_MS)
            pipeline.get(self._keys.sentinel)
            pipeline.pexpire(self._keys.sentinel, SENTINEL_TTL_MS)
            pipeline.info("server")
            _, sentinel, _, server = pipeline.execute()
            return sentinel, server.get("run_id")

        try:
            sentinel, run_id = self._call("continuity", sight)
        except MQTasksError:
            self._watch.lost()
            return 0.0
        if sentinel is None:  # evicted between two commands: this server keeps nothing
            self._watch.lost()
            return 0.0
        return self._watch.seen(sentinel, run_id, self._link.breaker.outages)

    def close(self) -> None:
        """Refuse every further call."""
        self._closed = True
        self._link.leave(self)

    def _scan(self, client: Any) -> list[str]:
        # SCAN may return a key twice.
        return list(
            {
                key.decode(errors="replace")
                for key in client.scan_iter(match=self._keys.runner_pattern, count=_CHUNK)
            }
        )

    def _call(self, operation: str, function: Callable[[Any], _T]) -> _T:
        if self._closed:
            raise CoordinationUnavailable("coordination is closed")
        return self._link.call(operation, function)

    def _read(
        self, operation: str, items: Sequence[_T], command: Callable[[Any, _T], object]
    ) -> list[Any]:
        """Return the replies to one command per item. Raises MQTasksError."""

        def run(client: Any) -> list[Any]:
            replies: list[Any] = []
            for chunk in _chunks(items):
                pipeline = client.pipeline(transaction=False)
                for item in chunk:
                    command(pipeline, item)
                replies += pipeline.execute()
            return replies

        return self._call(operation, run) if items else []

    def _write(
        self, operation: str, items: Sequence[_T], command: Callable[[Any, _T], object]
    ) -> bool:
        """Run the commands for all items; return whether that worked."""
        try:
            self._read(operation, items, command)
        except MQTasksError:
            return False
        return True


def _milliseconds(ttl: float) -> int:
    return max(1, round(ttl * 1000))


def _chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
