"""From a URL to a `Coordination`."""

from __future__ import annotations

from mqtasks.clock import Clock
from mqtasks.coordination.base import Coordination
from mqtasks.coordination.keys import DEFAULT_NAMESPACE
from mqtasks.coordination.local import local_coordination


def coordination_from_url(
    url: str | None, namespace: str = DEFAULT_NAMESPACE, clock: Clock | None = None
) -> Coordination:
    """Return the notifier and heartbeats that ``url`` names.

    Connects nothing, so it cannot fail because a server is away: calls then answer at once that
    nothing was sent, and the server is probed in the background.

    Args:
        url: ``None`` or empty for coordination inside this process; otherwise ``redis://``,
            ``rediss://`` (TLS), ``unix://``, ``redis+sentinel://host:port,host:port/service/db`` or
            ``redis+cluster://host:port,host:port``; ``valkey`` may stand for ``redis``. Options of
            redis-py may follow as a query, as in ``?socket_timeout=3``; ``sentinel_username`` and
            ``sentinel_password`` are for the sentinels.
        namespace: Separates installations that share a server; 1 to 64 of ``A-Z a-z 0-9 _ . -``.
        clock: Measures local expiry and `Heartbeats.continuity`; default is the real clock.

    Raises:
        ConfigError: the URL cannot be understood; the message masks its password.
        InvalidArgument: the namespace is malformed.
    """
    if not url:
        return local_coordination(namespace, clock)
    from mqtasks.coordination.redis import redis_coordination

    return redis_coordination(url, namespace, clock)
