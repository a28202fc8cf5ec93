"""An application whose isolated tasks run inside middlewares: ``tests.app.surrounded:app``."""

from __future__ import annotations

import os
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from mqtasks import Failure, Middleware, MQTasks, on_error

app = MQTasks()
note: ContextVar[str] = ContextVar("note", default="")


class Marks(Middleware):
    def execute(self, call_next: Any, context: Any) -> Any:
        note.set(context.task.metadata.options.headers["note"])
        return [os.getpid(), call_next(context)]

    aexecute = Middleware.aexecute


def report(failure: Failure) -> None:
    name = type(failure.error).__name__
    with Path(failure.task.metadata.options.headers["file"]).open("a") as file:
        file.write(f"{os.getpid()} {name} {failure.outcome.name} {note.get()}\n")


app.use(Marks(), on_error(report))


@app.task(isolation="process")
def work(how: str) -> object:  # the middleware changes its type
    if how == "raise":
        raise LookupError
    if how == "die":
        os._exit(3)
    return note.get()
