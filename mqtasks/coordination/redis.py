"""The only importer of redis-py: clients for one server, Sentinel and Cluster.

All keys of a namespace carry one hash tag, so in a cluster they live on one node. mqtasks asks the
cluster client for that node and then speaks to it as to a single server; when the slot moves, the
node's refusal counts as an outage, and the topology is read again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import Connection, ConnectionPool, parse_url
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ClusterError,
    ConnectionError,  # noqa: A004 - redis-py's name
    MovedError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TimeoutError,  # noqa: A004 - redis-py's name
)
from redis.retry import Retry
from redis.sentinel import Sentinel

from mqtasks.clock import Clock, SystemClock
from mqtasks.coordination.base import Coordination
from mqtasks.coordination.keys import Keys
from mqtasks.coordination.link import ClientSource, RedisLink
from mqtasks.coordination.redis_heartbeats import RedisHeartbeats
from mqtasks.coordination.redis_notifier import RedisNotifier
from mqtasks.coordination.urls import RedisAddress, parse_redis_url
from mqtasks.errors import ConfigError

# redis-py leaves these without annotations.
_ClusterNode: Callable[..., Any] = ClusterNode
_parse_url: Callable[[str], dict[str, Any]] = parse_url
_Sentinel: Callable[..., Any] = Sentinel

_TIMEOUT: Final = 1.0  # seconds, to connect and to read; a URL option may say otherwise
_OUTAGES: Final = (
    ConnectionError,
    TimeoutError,
    OSError,
    ClusterDownError,
    ClusterError,
    RedisClusterException,
    MovedError,
    AskError,
)


def redis_coordination(url: str, namespace: str, clock: Clock | None = None) -> Coordination:
    """Build the pair over Redis. Connects nothing: the first call does.

    Raises ConfigError for a URL that cannot be understood, InvalidArgument for a bad namespace.
    """
    address = parse_redis_url(url)
    keys = Keys(namespace)
    link = RedisLink(make_source(address, keys), keys, address.shown, address.scrub)
    return coordination_over(link, clock)


def coordination_over(link: RedisLink, clock: Clock | None = None) -> Coordination:
    """Build the pair over a link, which is closed with the last of them."""
    return Coordination(
        RedisNotifier(link),
        RedisHeartbeats(link, clock or SystemClock()),
        link.keys.namespace,
    )


def make_source(address: RedisAddress, keys: Keys) -> ClientSource:
    """Return the source of clients for an address.

    Raises ConfigError for options that redis-py does not know.
    """
    try:
        options = _options(address)
        if address.kind == "cluster":
            return ClusterSource(address, keys.sentinel, options)
        sentinels: Sequence[Any] = ()
        if address.kind == "sentinel":
            client, sentinels = _sentinel_client(address, options)
        else:
            client = Redis(connection_pool=ConnectionPool(**options))
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # unknown options show here, not later
    except (TypeError, ValueError, RedisError) as error:
        # A malformed authority makes the standard library quote parts of the password.
        why = "" if isinstance(error, ValueError) else f" ({address.scrub(str(error))})"
        raise ConfigError(
            f"redis URL {address.shown!r} has a part or option that cannot be used{why}: percent-"
            "encode special characters in user and password, and see redis-py for the options"
        ) from None
    return DirectSource(client, sentinels)


class _Source(ClientSource):
    def is_outage(self, error: Exception) -> bool:
        """Return whether the server, or the owner of our slot, cannot be reached."""
        return isinstance(error, _OUTAGES)

    def is_demotion(self, error: Exception) -> bool:
        """Return whether we write to a replica."""
        return isinstance(error, ReadOnlyError)


class DirectSource(_Source):
    """One client, to a fixed server or to whatever the sentinels name."""

    def __init__(self, client: Any, sentinels: Sequence[Any] = ()) -> None:
        self._client = client
        self._sentinels = sentinels

    def client(self) -> Any:
        """Return the client."""
        return self._client

    def reset(self) -> None:
        """Drop idle connections: reconnecting asks DNS or the sentinels again."""
        self._client.connection_pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """Drop all connections."""
        self._client.close()
        self._client.connection_pool.disconnect()
        for sentinel in self._sentinels:
            sentinel.close()


class ClusterSource(_Source):
    """The node of a cluster that holds ``key``, looked up when first needed."""

    def __init__(self, address: RedisAddress, key: str, options: dict[str, Any]) -> None:
        self._address = address
        self._key = key
        self._lock = threading.Lock()
        self._cluster: Any = None
        self._node: Any = None
        options.pop("connection_class", Connection)(**options)  # as above: unknown options show
        for name in ("host", "port", "db", "retry"):
            options.pop(name, None)
        self._options = options

    def client(self) -> Any:
        """Return the node's client, reading the topology first if necessary."""
        with self._lock:
            if self._node is None:
                nodes = [_ClusterNode(host, port) for host, port in self._address.hosts]
                self._cluster = RedisCluster(
                    startup_nodes=nodes, ssl=self._address.tls, **self._options
                )
                node = self._cluster.get_node_from_key(self._key)
                self._node = self._cluster.get_redis_connection(node)
            return self._node

    def reset(self) -> None:
        """Forget the topology."""
        self.close()

    def close(self) -> None:
        """Drop all connections."""
        with self._lock:
            cluster, self._cluster, self._node = self._cluster, None, None
        if cluster is not None:
            cluster.close()


def _options(address: RedisAddress) -> dict[str, Any]:
    """Return connection options: ours, overridden by the URL's, but for what we rely on."""
    ours: dict[str, Any] = {"socket_timeout": _TIMEOUT}
    if not address.client_url.startswith("unix:"):
        ours |= {"socket_connect_timeout": _TIMEOUT, "socket_keepalive": True}
    # No retries and no silent reconnection: the breaker decides when to try, the listener must
    # see each gap.
    fixed = {"decode_responses": False, "retry": Retry(NoBackoff(), 0, supported_errors=())}
    return ours | _parse_url(address.client_url) | fixed


def _sentinel_client(address: RedisAddress, options: dict[str, Any]) -> tuple[Any, Sequence[Any]]:
    """Return a client of the watched primary, and the clients of the sentinels."""
    for name in ("host", "port", "connection_class"):
        options.pop(name, None)
    credentials = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in ("sentinel_username", "sentinel_password")
        if name in options
    }
    shared = {k: v for k, v in options.items() if k.startswith(("socket_", "ssl_", "retry"))}
    manager: Any = _Sentinel(
        address.hosts, sentinel_kwargs={**shared, **credentials, "ssl": address.tls}
    )
    primary = manager.master_for(address.service, ssl=address.tls, **options)
    return primary, manager.sentinels
