"""Isolated executors with relatives: ``tests.worker.isolation.relatives_app:app``."""

from __future__ import annotations

from mqtasks import MQTasks
from mqtasks.worker import current_context

app = MQTasks()


@app.task(isolation="process")
def leaf(number: int) -> int:
    return number


@app.task(isolation="process", max_retry_times=1, retry_interval=0.0, jitter=0.0)
def parent(count: int) -> str:
    """Make the same children twice."""
    context = current_context()
    made = [context.enqueue_child(leaf.s(number)) for number in range(count)]
    assert [child.is_new for child in made] == [context.attempt == 0] * count
    if context.attempt == 0:
        raise ValueError("again")
    return context.enqueue_child(total.s(), after=made).id


@app.task(isolation="process")
def total() -> int:
    return sum(current_context().parent_results(int))
