"""Creating tasks: sizes checked, inside the middlewares, committed, and only then hinted at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mqtasks.errors import InvalidTask, PayloadTooLarge
from mqtasks.events import wants
from mqtasks.model import Created, NewTask, TaskEpoch
from mqtasks.service.enqueueing import enqueue_inside, tell_enqueued

if TYPE_CHECKING:
    from mqtasks.service.task_service import TaskService

_Write = Callable[[Sequence[NewTask]], list[Created]]


class Creation:
    """What `TaskService` does to create tasks. Safe to use from many threads."""

    def __init__(self, service: TaskService) -> None:
        self._service = service

    def create(self, tasks: Sequence[NewTask]) -> list[Created]:
        """Create tasks in one transaction of their own."""
        return self._inside(partial(self._store, self._service.storage.create_tasks), tasks)

    def create_children(
        self, runner_id: str, owner: TaskEpoch, tasks: Sequence[NewTask]
    ) -> list[Created]:
        """Create tasks only if the runner still owns one; raise InvalidTask if it does not."""

        def store(tasks: Sequence[NewTask]) -> list[Created]:
            made = self._service.storage.create_children(runner_id, owner, tasks)
            if made is None:
                why = "made no children: not owned any more"
                raise InvalidTask(owner.task_id, runner_id, owner.epoch, why)
            return made

        return self._inside(partial(self._store, store), tasks)

    def create_in(self, connection: Any, tasks: Sequence[NewTask]) -> list[Created]:
        """Create tasks in the transaction that is open on a connection of the caller's."""
        return self._inside(partial(self._join, connection), tasks, in_transaction=True)

    def _inside(
        self, write: _Write, tasks: Sequence[NewTask], *, in_transaction: bool = False
    ) -> list[Created]:
        registry = self._service.registry
        if registry is not None and (layers := registry.middlewares):
            return enqueue_inside(layers, registry, tasks, write, in_transaction=in_transaction)
        return write(tasks)

    def _store(self, store: _Write, tasks: Sequence[NewTask]) -> list[Created]:
        self._check_sizes(tasks)
        created = store(tasks)
        if len(created) < len(tasks):  # the framework is switched off: nothing was written
            return [Created(0, is_new=False) for _ in tasks]
        if any(item.is_new for item in created):
            self._service.hint_created()
            if wants("task.enqueued"):
                tell_enqueued(tasks, created)
        return created

    def _join(self, connection: Any, tasks: Sequence[NewTask]) -> list[Created]:
        self._check_sizes(tasks)
        joined = self._service.storage.join(connection)
        created = joined.create_tasks(tasks)
        if len(created) < len(tasks):
            return [Created(0, is_new=False) for _ in tasks]
        if any(item.is_new for item in created):
            joined.after_commit(self._service.hint_created)
            if wants("task.enqueued"):
                joined.after_commit(partial(tell_enqueued, tasks, created))
        return created

    def _check_sizes(self, tasks: Sequence[NewTask]) -> None:
        limit = self._service.max_payload_bytes
        for task in tasks:
            size = len(task.metadata.context)
            if size > limit:
                raise PayloadTooLarge(f"context of task {task.metadata.id!r}", size, limit)
