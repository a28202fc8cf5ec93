"""What the coordination tests share: worlds, recorders, awkward servers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import fakeredis
import redis

from mqtasks.clock import ManualClock
from mqtasks.coordination.base import Coordination, RunnerBeat, TaskBeat
from mqtasks.coordination.factory import coordination_from_url
from mqtasks.coordination.keys import Keys
from mqtasks.coordination.link import RedisLink
from mqtasks.coordination.local import local_coordination
from mqtasks.coordination.redis import DirectSource, coordination_over

DEADLINE = 10.0
"""Seconds after which something that should happen has not."""


class World:
    """A coordination server, and processes that talk to it."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.keys = Keys(namespace)
        self.clock = ManualClock()
        self._opened: list[Coordination] = []
        self.mine = self.join()

    @property
    def notifier(self):
        return self.mine.notifier

    @property
    def heartbeats(self):
        return self.mine.heartbeats

    def make(self) -> Coordination:
        raise NotImplementedError

    def age(self, seconds: float) -> None:
        """Let time pass for every key."""
        raise NotImplementedError

    def join(self) -> Coordination:
        """Return the coordination of one more process."""
        made = self.make()
        self._opened.append(made)
        return made

    def close(self) -> None:
        for opened in self._opened:
            opened.close()


class LocalWorld(World):
    """One process is all there is: joining it again gives the same objects."""

    def make(self) -> Coordination:
        return self._opened[0] if self._opened else local_coordination(self.namespace, self.clock)

    def age(self, seconds: float) -> None:
        self.clock.advance(seconds)


class ServerWorld(World):
    """Keys on a server; ``client`` returns a bare client of it."""

    def client(self) -> Any:
        raise NotImplementedError

    def age(self, seconds: float) -> None:
        with contextlib.closing(self.client()) as client:
            for key in client.scan_iter():
                client.pexpire(key, client.pttl(key) - round(seconds * 1000))


class FakeWorld(ServerWorld):
    def __init__(self, namespace: str) -> None:
        self.server = fakeredis.FakeServer()
        super().__init__(namespace)

    def make(self) -> Coordination:
        return fake_coordination(self.server, self.namespace, self.clock)

    def client(self) -> Any:
        return fakeredis.FakeRedis(server=self.server)


class RedisWorld(ServerWorld):
    def __init__(self, namespace: str, url: str) -> None:
        self.url = url
        super().__init__(namespace)

    def make(self) -> Coordination:
        return coordination_from_url(self.url, self.namespace, self.clock)

    def client(self) -> Any:
        return redis.Redis.from_url(self.url)


def fake_coordination(
    server: fakeredis.FakeServer, namespace: str = "default", clock: ManualClock | None = None
) -> Coordination:
    """Return the Redis port over a fake server; ``server.connected = False`` takes it away."""
    source = DirectSource(fakeredis.FakeRedis(server=server))
    link = RedisLink(source, Keys(namespace), "redis://fake", lambda text: text)
    return coordination_over(link, clock or ManualClock())


class Recorder:
    """A callback that remembers, and that can be waited for."""

    def __init__(self) -> None:
        self._cond = threading.Condition()
        self.calls: list[tuple[Any, ...]] = []
        self.threads: set[int] = set()

    def __call__(self, *args: Any) -> None:
        with self._cond:
            self.calls.append(args)
            self.threads.add(threading.get_ident())
            self._cond.notify_all()

    def wait(self, count: int = 1, timeout: float = DEADLINE) -> bool:
        """Wait until there have been ``count`` calls; return whether there have."""
        with self._cond:
            return self._cond.wait_for(lambda: len(self.calls) >= count, timeout)


def eventually(condition: Callable[[], bool], timeout: float = DEADLINE) -> bool:
    """Wait for what nothing announces, such as a thread of another object having noticed."""
    never = threading.Event()
    for _ in range(round(timeout / 0.01)):
        if condition():
            return True
        never.wait(0.01)
    return condition()


def threads() -> set[str]:
    """Return the names of the coordination threads that are running."""
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if name.startswith("mqtasks-redis")}


def beat(runner_id: str = "r1", **fields: Any) -> RunnerBeat:
    return RunnerBeat(runner_id=runner_id, **{"generation": 1, **fields})


def use_everything(coordination) -> None:
    """Use every method once."""
    got, keys = Recorder(), Keys(coordination.namespace)
    notifier, heartbeats = coordination.notifier, coordination.heartbeats
    subscription = notifier.subscribe([keys.created, keys.events], got)
    assert subscription.active
    assert notifier.publish(keys.created, b"1")
    assert notifier.publish_many([(keys.created, b"2"), (keys.events, b"3")])
    assert got.wait(3)
    assert heartbeats.beat_runners([beat("r1"), beat("r2")], 15)
    assert heartbeats.beat_tasks([TaskBeat(n, "r1", 1) for n in range(50)], 15)
    assert heartbeats.alive_runners(["r1", "r2", "r3"]) == {"r1", "r2"}
    assert heartbeats.alive_tasks(range(60)) == frozenset(range(50))
    assert heartbeats.runner_details() == [beat("r1"), beat("r2")]
    assert heartbeats.publish_stats({"term": 1}, 10)
    assert heartbeats.stats() == {"term": 1}
    assert heartbeats.forget_runner("r1")
    assert heartbeats.forget_tasks(range(50))
    assert heartbeats.continuity() == 0.0
    assert heartbeats.continuity() > 0.0
    assert notifier.healthy()
    subscription.close()


class AwkwardServer:
    """A TCP server that counts connections and never answers; it hangs up at once if ``rude``."""

    def __init__(self, *, rude: bool) -> None:
        self._rude = rude
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._held: list[socket.socket] = []
        self.connections = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._socket.getsockname()[1]}/0"

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            if self._rude:
                client.close()
            else:
                self._held.append(client)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(DEADLINE)
        for client in self._held:
            client.close()


@contextlib.contextmanager
def awkward_server(*, rude: bool) -> Iterator[AwkwardServer]:
    server = AwkwardServer(rude=rude)
    try:
        yield server
    finally:
        server.close()
