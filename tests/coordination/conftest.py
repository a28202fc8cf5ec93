"""One suite, three backends: in process, over a fake Redis, and over a real one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.coordination.harness import FakeWorld, LocalWorld, RedisWorld, World
from tests.support.servers import RedisServer

_numbers = itertools.count(1)


@pytest.fixture(params=["local", "fakeredis", "redis"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A coordination server of this test alone."""
    namespace = f"test-{next(_numbers)}"
    match request.param:
        case "local":
            made: World = LocalWorld(namespace)
        case "fakeredis":
            made = FakeWorld(namespace)
        case _:
            made = RedisWorld(namespace, request.getfixturevalue("redis_url"))
    yield made
    made.close()


@pytest.fixture
def redis_world(redis_url: str) -> Iterator[RedisWorld]:
    """A real Redis, shared with other tests but empty."""
    made = RedisWorld(f"test-{next(_numbers)}", redis_url)
    yield made
    made.close()


@pytest.fixture
def own_world(own_redis: RedisServer) -> Iterator[RedisWorld]:
    """A real Redis for this test alone: ``own_redis`` may be killed, flushed and restarted."""
    made = RedisWorld(f"test-{next(_numbers)}", own_redis.url())
    yield made
    made.close()
