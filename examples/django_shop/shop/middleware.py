"""Lets the name of a request travel with the tasks that it makes."""

import logging
from contextvars import ContextVar

from mqtasks import EnqueueContext, ExecutionContext, Middleware

request_name: ContextVar[str] = ContextVar("request_name", default="")
log = logging.getLogger("shop")


class Trace(Middleware):
    def enqueue(self, call_next, context: EnqueueContext):
        for task in context.tasks:
            task.set_header("request", request_name.get())
        return call_next(context)

    def execute(self, call_next, context: ExecutionContext):
        request_name.set(context.task.metadata.options.headers.get("request", ""))
        return call_next(context)

    async def aexecute(self, call_next, context: ExecutionContext):
        request_name.set(context.task.metadata.options.headers.get("request", ""))
        return await call_next(context)
