"""Creating tasks inside the middlewares of an application, and telling of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mqtasks.events import emit
from mqtasks.middleware import EnqueueContext, EnqueueTask, Middleware, enqueue_through
from mqtasks.model import Created, NewTask
from mqtasks.registry import DEFAULT_CODEC, TaskRegistry


def enqueue_inside(
    middlewares: Sequence[Middleware],
    registry: TaskRegistry,
    tasks: Sequence[NewTask],
    write: Callable[[Sequence[NewTask]], Sequence[Created]],
    *,
    in_transaction: bool = False,
) -> list[Created]:
    """Create ``tasks``, as changed by ``middlewares``, with ``write``; see `enqueue_through`.

    Arguments are read and written as the executor's own definition says; as plain JSON where
    ``registry`` does not know it.
    """
    described = []
    for new in tasks:
        definition = registry.get(new.metadata.executor)
        codec = DEFAULT_CODEC if definition is None else definition.codec
        signature = None if definition is None else definition.signature
        described.append(EnqueueTask(new, codec, signature))
    context = EnqueueContext(described, in_transaction=in_transaction)
    return list(enqueue_through(middlewares, context, write))


def tell_enqueued(tasks: Sequence[NewTask], created: Sequence[Created]) -> None:
    """Emit ``task.enqueued`` for each task that is new."""
    for task, made in zip(tasks, created, strict=True):
        if made.is_new:
            emit(
                "task.enqueued",
                task_id=made.task_id,
                metadata_id=task.metadata.id,
                executor=task.metadata.executor,
            )
