"""Tasks that depend on each other for the end-to-end tests."""

from __future__ import annotations

from mqtasks import MQTasks
from mqtasks.worker import current_context
from tests.e2e.shop import _FOLDER, trace

app = MQTasks()


@app.task
def link(name: str) -> str:
    """Note that it runs, and what it was handed."""
    parents = current_context().parent_results(str)
    trace("links", f"{name} {current_context().epoch}")
    return f"{name}<{','.join(parents)}>"


@app.task
def gate(name: str) -> str:
    """Stay until a file appears."""
    context = current_context()
    trace("links", f"{name} {context.epoch}")
    while not (_FOLDER / "gate").exists():
        context.wait_cancelled(0.05)
        context.check()
    return name


@app.task
def broad(count: int) -> str:
    """Make children and what follows them, half of it before a file appears."""
    context = current_context()
    made = []
    for number in range(count):
        if number == count // 2:
            trace("broad", f"half {context.epoch}")
            while not (_FOLDER / "gate").exists():
                context.wait_cancelled(0.05)
                context.check()
        made.append(context.enqueue_child(link.s(str(number))))
    return context.enqueue_child(link.s("all"), after=made).id
