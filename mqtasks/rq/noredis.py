"""The connection of a view: a Redis client without a Redis.

Whoever reads an rq queue first "cleans" it over the queue's connection: expired executions are
moved, and jobs may even be pushed to live queues. With this connection there is nothing to clean,
so that the user's Redis is neither needed nor touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

from redis import ConnectionPool, Redis

from mqtasks.rq.readonly import ReadOnlyView

# Counts (ZCARD, LLEN) are left out on purpose: a wrong 0 would be believed, while an empty list
# only ends a cleaning early.
_ANSWERS: Final[dict[str, Callable[[], object]]] = {
    "EXISTS": int,
    "GET": lambda: None,
    "HGET": lambda: None,
    "HGETALL": dict,
    "LRANGE": list,
    "SMEMBERS": set,
    "ZRANGE": list,
    "ZRANGEBYSCORE": list,
    "ZREMRANGEBYSCORE": int,
    "ZSCORE": lambda: None,
}


class _NoPool(ConnectionPool):
    """Hands out no connection, so that pipelines and subscriptions reach nothing either."""

    def get_connection(self, *args: Any, **_options: Any) -> NoReturn:
        raise ReadOnlyView(_refused(str(args[0]) if args else "a connection"))


class NoRedis(Redis):
    """Answers what rq asks while it cleans, as an empty server would; refuses all else.

    Never connects. Raises ReadOnlyView for every other command. Safe to use from many threads.
    """

    def __init__(self) -> None:
        super().__init__(connection_pool=_NoPool())

    def execute_command(self, *args: Any, **_options: Any) -> Any:
        """Answer one command."""
        answer = _ANSWERS.get(str(args[0]).upper())
        if answer is None:
            raise ReadOnlyView(_refused(str(args[0])))
        return answer()


def _refused(what: str) -> str:
    return (
        f"Redis was asked for {what}, but this only shows mqtasks to rq's monitors, and no Redis"
        " holds its tasks; use the mqtasks command"
    )
