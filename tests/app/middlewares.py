"""Middlewares to test with, and tasks that they stand around."""

from __future__ import annotations

import asyncio

from mqtasks import (
    AttemptOutcome,
    Middleware,
    MQTasks,
    Scheduler,
    TaskRunner,
)

DEADLINE = 30.0
RETRIES = {"max_retry_times": 1, "retry_interval": 0.0}


def run(app, *handles):
    with Scheduler(app.service), TaskRunner("r", app.service, registry=app.registry):
        for handle in handles:
            assert handle.wait(DEADLINE)


def history(app, handle):
    return [(AttemptOutcome(a.outcome), a.error) for a in app.service.attempts(handle.task_id)]


def rows(app):
    return [task.metadata.id for task in app.service.query_task()]


class Both(Middleware):
    """Stands around both kinds of executors, by one pair of callbacks."""

    def __init__(self, before=lambda _context: None, after=lambda value: value):
        self.before, self.after = before, after

    def execute(self, call_next, context):
        self.before(context)
        return self.after(call_next(context))

    async def aexecute(self, call_next, context):
        self.before(context)
        return self.after(await call_next(context))


class Enqueueing(Middleware):
    def __init__(self, before=lambda _context: None, after=lambda _context: None):
        self.before, self.after = before, after

    def enqueue(self, call_next, context):
        self.before(context)
        call_next(context)  # the answer may be forgotten
        self.after(context)


def register(app: MQTasks, kind, function, **options):
    """Register ``function`` as a plain or an ``async def`` task."""
    if kind == "plain":

        @app.task(name="work", **options)
        def work(number: int = 0) -> object:
            return function(number)

        return work

    @app.task(name="work", **options)
    async def work_async(number: int = 0) -> object:
        await asyncio.sleep(0)
        return function(number)

    return work_async
