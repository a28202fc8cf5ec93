"""Queue and Worker classes with which rq's own monitors show mqtasks.

::

    export RQ_QUEUE_CLASS=mqtasks.rq.view.QueueView RQ_WORKER_CLASS=mqtasks.rq.view.WorkerView
    rq info

Executors show as queues and runners as workers, read from mqtasks' storage and heartbeats, as the
settings (``MQTASKS_URL`` and the others) say. The Redis that rq connects to is not used, and
nothing is written anywhere. Whatever would change something raises `ReadOnlyView`.

Public names of rq's classes are all that is overridden; rq 2.12 to 3 are supported.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Self, cast

from redis import Redis
from rq import Queue, Worker
from rq.registry import BaseRegistry

from mqtasks.rq import refusals
from mqtasks.rq.noredis import NoRedis
from mqtasks.rq.readonly import ReadOnlyView, read_only
from mqtasks.rq.snapshot import QueueCounts, RunnerSight
from mqtasks.rq.source import SOURCE


@read_only(refusals.REGISTRY)
class RegistryView(BaseRegistry):
    """The tasks of one executor in one state: how many, but not which."""

    def __init__(self, queue: Queue, read: Callable[[], int]) -> None:
        super().__init__(queue=queue)
        self._read = read

    def get_job_count(self, cleanup: bool = True) -> int:  # noqa: ARG002, FBT001, FBT002 - rq's
        """Return how many there are. Nothing is ever cleaned."""
        return self._read()


@read_only(refusals.QUEUE)
class QueueView(Queue):
    """One executor. An executor code that is an int shows as its digits.

    A name that no task and no runner has is an empty queue. Counts are at most half a second old,
    and of the first 10,000 tasks of each status (over all executors). Raises ViewError when
    storage cannot be read.
    """

    def __init__(
        self,
        name: str = "default",
        connection: Redis | None = None,  # noqa: ARG002 - the user's own Redis is left alone
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, NoRedis(), *args, **kwargs)

    @classmethod
    def all(cls, *_args: Any, **_kwargs: Any) -> list[Queue]:
        """Return a queue for each executor that has tasks, or a runner that has not stopped."""
        return [cls(name) for name in SOURCE.snapshot().queues]

    @property
    def count(self) -> int:
        """Tasks that are due and wait to be allocated."""
        return self._counts().queued

    @property
    def scheduled_job_registry(self) -> RegistryView:
        """Tasks that are not due yet, retries included."""
        return RegistryView(self, lambda: self._counts().scheduled)

    @property
    def started_job_registry(self) -> RegistryView:
        """Tasks that are allocated to a runner."""
        return RegistryView(self, lambda: self._counts().started)

    @property
    def finished_job_registry(self) -> RegistryView:
        """Tasks that succeeded and are still kept."""
        return RegistryView(self, lambda: self._counts().finished)

    @property
    def failed_job_registry(self) -> RegistryView:
        """Tasks that failed for good and are still kept."""
        return RegistryView(self, lambda: self._counts().failed)

    @property
    def canceled_job_registry(self) -> RegistryView:
        """Tasks that were canceled and are still kept."""
        return RegistryView(self, lambda: self._counts().canceled)

    @property
    def deferred_job_registry(self) -> RegistryView:
        """Tasks that wait for others."""
        return RegistryView(self, lambda: self._counts().deferred)

    @property
    def ready_job_registry(self) -> RegistryView:
        """Nothing: a task whose parents have ended is queued."""
        return RegistryView(self, int)

    @property
    def scheduler_pid(self) -> int | None:
        """None: rq's scheduler plays no part."""
        return None

    def acquire_maintenance_lock(self) -> bool:
        """Return False: whoever asks must not clean anything."""
        return False

    def release_maintenance_lock(self) -> None:
        """Do nothing: the lock is never held."""

    def _counts(self) -> QueueCounts:
        return SOURCE.snapshot().queues.get(self.name, QueueCounts())


@read_only(refusals.WORKER)
class WorkerView(Worker):
    """One runner that has not stopped. Instances come from `all` and `find_by_key`.

    Finished and failed counts are those of its heartbeat in Redis; 0 where there is none.
    """

    _sight: RunnerSight | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Refuse to become a worker: rq says ``prepare_for_work=False`` where it only looks."""
        if kwargs.get("prepare_for_work", True):
            raise ReadOnlyView(
                "WorkerView only shows mqtasks' runners to rq's monitors and runs nothing; start"
                " a worker with `mqtasks worker MODULE:APP`"
            )
        kwargs["connection"] = NoRedis()
        super().__init__(*args, **kwargs)

    @classmethod
    def all(  # the order and names of the parameters are rq's
        cls,
        connection: Redis | None = None,  # noqa: ARG003 - the user's own Redis is left alone
        job_class: Any = None,  # noqa: ARG003
        queue_class: Any = None,  # noqa: ARG003
        queue: Queue | None = None,
        serializer: Any = None,  # noqa: ARG003
    ) -> list[Any]:
        """Return the runners by id; with ``queue`` those that run this executor."""
        return [
            cls._of(sight)
            for sight in SOURCE.snapshot().runners
            if queue is None or queue.name in sight.queues
        ]

    @classmethod
    def all_keys(cls, connection: Redis | None = None, queue: Queue | None = None) -> list[str]:
        """Return rq's names of the keys that these workers would have."""
        return [worker.key for worker in cls.all(connection, queue=queue)]

    @classmethod
    def count(cls, connection: Redis | None = None, queue: Queue | None = None) -> int:
        """Return how many runners there are; with ``queue`` those that run this executor."""
        return len(cls.all(connection, queue=queue))

    @classmethod
    def find_by_key(cls, worker_key: str, *_args: Any, **_kwargs: Any) -> Self | None:
        """Return the runner whose key `all_keys` names so; None if it has stopped."""
        found = (worker for worker in cls.all() if worker.key == worker_key)
        return cast("Self | None", next(found, None))

    def refresh(self) -> None:
        """Read the runner again; one that has stopped meanwhile keeps what it showed last."""
        for sight in SOURCE.snapshot().runners:
            if sight.record.id == self.name:
                self._show(sight)

    def get_state(self) -> str:
        """Return ``busy``, ``idle``, ``draining`` or ``lapsed`` (its lease was not renewed).

        ``?`` where it was never read, as rq says.
        """
        return self._sight.state if self._sight else "?"

    @property
    def current_execution_count(self) -> int:
        """Tasks that it executes now."""
        return self._sight.running if self._sight else 0

    def get_current_executions(self, *_args: Any, **_kwargs: Any) -> list[Any]:
        """Return nothing: tasks are not rq jobs."""
        return []

    def get_current_job_id(self, *_args: Any, **_kwargs: Any) -> str | None:
        """Return None, as `get_current_executions`."""
        return None

    def get_current_job(self) -> Any:
        """Return None, as `get_current_executions`."""
        return None

    @property
    def death_date(self) -> dt.datetime | None:
        """None: a runner that has stopped is not shown."""
        return None

    @property
    def shutdown_requested_date(self) -> dt.datetime | None:
        """None: mqtasks does not note it; see `get_state`."""
        return None

    @classmethod
    def _of(cls, sight: RunnerSight) -> Self:
        worker = cls([], name=sight.record.id, queue_class=QueueView, prepare_for_work=False)
        worker._show(sight)
        return worker

    def _show(self, sight: RunnerSight) -> None:
        record = sight.record
        self._sight = sight
        self.hostname = record.host
        self.pid = record.pid
        self.version = record.version
        self.python_version = "unknown"
        self.queues = [QueueView(name) for name in sight.queues]
        self.birth_date = dt.datetime.fromtimestamp(record.started_at / 1000, dt.UTC)
        self.successful_job_count = sight.finished
        self.failed_job_count = sight.failed
