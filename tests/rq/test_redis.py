"""With a Redis: live counters come from heartbeats, and not one key is written or changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from rq import Queue
from rq.job import JobStatus

from mqtasks.coordination.base import Coordination, RunnerBeat
from mqtasks.coordination.factory import coordination_from_url
from tests.rq.conftest import NOWHERE, Rq
from tests.support.stage import Stage

WORKER = "worker {} ({} unknown {}) {} {}. jobs: {} finished, {} failed"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connected:
        yield connected


@pytest.fixture
def coordination(redis_url: str) -> Iterator[Coordination]:
    with coordination_from_url(redis_url) as connected:
        yield connected


def test_state_and_counters_come_from_heartbeats(
    stage: Stage, rq: Rq, redis_url: str, coordination: Coordination
) -> None:
    assert coordination.heartbeats.beat_runners(
        [
            RunnerBeat(runner_id="r1", generation=1, running=0, completed_total=5, failed_total=2),
            RunnerBeat(runner_id="r2", generation=9, running=4, completed_total=8),
            RunnerBeat(runner_id="stranger", generation=1),
        ],
        ttl=60,
    )

    lines = rq("info", "-W", "--raw", MQTASKS_REDIS=redis_url).stdout.splitlines()

    assert sorted(lines) == [
        WORKER.format("r1", "alpha", 101, "idle", "mail, 7", 5, 2),  # owns tasks, executes none
        WORKER.format("r2", "beta", 102, "idle", "mail", 0, 0),  # a beat of another process
        WORKER.format("r3", "gamma", 103, "draining", "report", 0, 0),
        WORKER.format("r5", "eps", 105, "lapsed", "mail", 0, 0),
    ]


def test_a_redis_that_is_away_costs_only_the_counters(stage: Stage, rq: Rq) -> None:
    done = rq("info", "-W", "--raw", MQTASKS_REDIS=NOWHERE)

    assert done.returncode == 0
    assert WORKER.format("r1", "alpha", 101, "busy", "mail, 7", 0, 0) in done.stdout


def test_not_one_key_is_written(
    stage: Stage,
    rq: Rq,
    redis_url: str,
    client: redis.Redis,
    coordination: Coordination,
) -> None:
    # A lapsed execution of rq's own: whoever cleans this queue would move the job to failed.
    job = Queue("mail", connection=client).enqueue("os.getcwd")
    job.set_status(JobStatus.STARTED)
    client.delete("rq:queue:mail")
    client.zadd("rq:wip:mail", {f"{job.id}:execution": 1})
    coordination.heartbeats.beat_runners([RunnerBeat(runner_id="r1", generation=1)], ttl=600)
    before = dump(client)
    client.config_resetstat()

    for arguments in ((), ("--raw", "-R"), ("-Q",), ("-W",), ("mail",)):
        done = rq("info", *arguments, RQ_REDIS_URL=redis_url, MQTASKS_REDIS=redis_url)
        assert done.returncode == 0, done.stderr

    commands = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
    assert "hgetall" in commands
    assert commands <= {"hgetall", "hello", "client|setinfo", "config|resetstat", "info"}
    assert dump(client) == before


def dump(client: redis.Redis) -> dict[object, object]:
    return {key: client.dump(key) for key in client.scan_iter()}


def test_without_any_redis_and_without_heartbeats_nothing_is_written_either(
    stage: Stage, rq: Rq, redis_url: str, client: redis.Redis
) -> None:
    assert rq("info", RQ_REDIS_URL=redis_url).returncode == 0

    assert client.dbsize() == 0
