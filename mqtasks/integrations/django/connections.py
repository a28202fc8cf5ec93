"""Django's database connections around the execution of tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.db import close_old_connections

from mqtasks.middleware import CallNext, ExecutionContext, Middleware


def fresh_connections(call_next: Callable[[Any], Any], context: Any) -> Any:
    """Call on, for ``def`` executors, without using a connection that is past its age.

    Closes, before and after, the connections of this thread that Django calls obsolete or broken
    (``CONN_MAX_AGE``), as Django does around each request.
    """
    close_old_connections()
    try:
        return call_next(context)
    finally:
        close_old_connections()


class FreshConnections(Middleware):
    """Middleware: no execution uses a connection that is past its age; see `fresh_connections`.

    For ``async def`` executors it does so in the thread in which Django's asynchronous interface
    uses the database.
    """

    def execute(self, call_next: CallNext[ExecutionContext], context: ExecutionContext) -> Any:
        """Close old connections of this thread around the execution."""
        return fresh_connections(call_next, context)

    async def aexecute(
        self, call_next: CallNext[ExecutionContext], context: ExecutionContext
    ) -> Any:
        """Close old connections of Django's thread around the execution."""
        close = sync_to_async(close_old_connections)
        await close()
        try:
            return await call_next(context)
        finally:
            await close()
