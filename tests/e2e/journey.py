"""Tasks of steps for the end-to-end tests; the third step waits for a gate."""

from __future__ import annotations

import asyncio

from mqtasks import MQTasks
from mqtasks.worker import current_context
from tests.e2e.shop import _FOLDER, trace

app = MQTasks()


def leg(number: int) -> int:
    """Note that a step runs; the third one stays until a file appears."""
    context = current_context()
    trace("legs", f"{number} {context.epoch}")
    if number == 3:
        while not (_FOLDER / "gate").exists():
            context.wait_cancelled(0.1)
            context.check()
    return 10 * number


async def aleg(number: int) -> int:
    """As `leg`, on the event loop."""
    trace("legs", f"{number} {current_context().epoch}")
    while number == 3 and not (_FOLDER / "gate").exists():  # noqa: ASYNC110 - a file of the test
        await asyncio.sleep(0.1)
    return 10 * number


@app.task
def travel() -> list[int]:
    """Do five steps."""
    context = current_context()
    return [context.step(f"leg-{number}", leg, number) for number in range(1, 6)]


@app.task
async def fly() -> list[int]:
    """Do five steps, every other one in a thread."""
    context = current_context()
    return [
        await context.astep(f"leg-{number}", aleg if number % 2 else leg, number)
        for number in range(1, 6)
    ]
