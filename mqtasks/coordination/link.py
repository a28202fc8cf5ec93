"""What the Redis notifier and heartbeats share: clients, circuit breaker, masked errors."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, TypeVar

from mqtasks.coordination.breaker import CircuitBreaker
from mqtasks.coordination.keys import Keys

_T = TypeVar("_T")
_LONGEST_ERROR: Final = 200


class ClientSource(ABC):
    """Makes the redis-py client of the one server that holds the namespace's keys."""

    @abstractmethod
    def client(self) -> Any:
        """Return a ``redis.Redis``. May connect (a cluster has to), so it may raise."""

    @abstractmethod
    def reset(self) -> None:
        """Forget idle connections and topology, so that the next call looks the server up anew."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect."""

    @abstractmethod
    def is_outage(self, error: Exception) -> bool:
        """Return whether an error means that the server is away, not that it refused."""

    @abstractmethod
    def is_demotion(self, error: Exception) -> bool:
        """Return whether an error means that the server is no primary any more."""


class RedisLink:
    """Runs commands on the server through the circuit breaker. Safe from many threads.

    ``server`` names it in logs and ``scrub`` takes its passwords out of error texts.
    """

    def __init__(
        self, source: ClientSource, keys: Keys, server: str, scrub: Callable[[str], str]
    ) -> None:
        self._source = source
        self._scrub = scrub
        self._users: set[object] = set()
        self._lock = threading.Lock()
        self.keys: Final = keys
        self.server: Final = server
        self.breaker: Final = CircuitBreaker(server, self._probe, source.is_outage, self.describe)

    def call(self, operation: str, function: Callable[[Any], _T]) -> _T:
        """Return ``function(client)``; raise CoordinationUnavailable if it fails or is not tried.

        ``operation`` names the kind of call in logs.
        """

        def run() -> _T:
            try:
                return function(self._source.client())
            except Exception as error:
                if self._source.is_demotion(error):
                    self._source.reset()  # the name may lead to the new primary by now
                raise

        return self.breaker.call(operation, run)

    def open_pubsub(self) -> Any:
        """Return an unconnected redis-py PubSub."""
        return self._source.client().pubsub()

    def describe(self, error: Exception) -> str:
        """Return an error as one short line without passwords."""
        text = " ".join(self._scrub(f"{type(error).__name__}: {error}").split())
        return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}..."

    def join(self, user: object) -> None:
        """Count in a user of the link."""
        with self._lock:
            self._users.add(user)

    def leave(self, user: object) -> None:
        """Count out a user; when it was the last, stop probing and disconnect. Idempotent."""
        with self._lock:
            last = self._users == {user}
            self._users.discard(user)
        if last:
            self.breaker.close()
            self._source.close()

    def _probe(self) -> None:
        self._source.reset()
        self._source.client().exists(self.keys.sentinel)

    def __repr__(self) -> str:
        return f"RedisLink({self.server!r}, {self.keys.namespace!r})"
