"""An application as its users write one, for the tests of the testing kit."""

from __future__ import annotations

import asyncio

from mqtasks import MQTasks, Snooze
from mqtasks.worker import current_context

app = MQTasks("mysql://nobody@127.0.0.1:1/nothing")  # nobody may connect there
events: list[object] = []
"""What the tasks did; each test begins with an empty list."""


@app.task
def note(what: object, *, loud: bool = False) -> str:
    events.append(what)
    return f"{what}!" if loud else str(what)


@app.task
async def anote(what: object) -> str:
    await asyncio.sleep(0)
    events.append(what)
    return str(what)


@app.task(max_retry_times=2, retry_interval=10, jitter=0)
def flaky(failures: int) -> int:
    attempt = current_context().attempt
    events.append(attempt)
    if attempt < failures:
        raise ConnectionError(f"failure {attempt + 1}")
    return attempt


@app.task
def patient() -> None:
    events.append("early")
    if len(events) == 1:
        raise Snooze(60)


@app.task
def endless() -> None:
    endless.enqueue()


@app.task
def parent(*names: str) -> list[str]:
    handles = [note.enqueue(name) for name in names]
    return [handle.result(5) for handle in handles]


@app.task
def two_steps() -> str:
    context = current_context()
    first: str = context.step("first", note, "first")
    second: str = context.step("second", note, "second")
    return first + second
