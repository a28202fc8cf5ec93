"""`TaskHandle`: what `enqueue` returns, to watch and steer one task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from mqtasks.errors import InvalidArgument, ResultTimeout, TaskCanceled, TaskFailed
from mqtasks.loop import Wake
from mqtasks.model import (
    AsyncTask,
    Progress,
    ResultCode,
    StepRecord,
    TaskStatus,
    decode_progress,
)
from mqtasks.service import TaskService

R = TypeVar("R")

_FIRST_WAIT: Final = 0.002
_LONGEST_WAIT: Final = 0.25


class TaskHandle(Generic[R]):
    """One created task. Cheap to make; every method asks storage. Safe from many threads."""

    __slots__ = ("_decode", "_service", "id", "is_new", "task_id")

    def __init__(
        self,
        service: Callable[[], TaskService],
        task_id: int,
        metadata_id: str,
        decode: Callable[[bytes], R],
        *,
        is_new: bool,
    ) -> None:
        """Name a stored task; ``decode`` turns its result bytes into the executor's value."""
        self._service = service
        self._decode = decode
        self.task_id: Final = task_id
        """Storage's number of the task."""
        self.id: Final = metadata_id
        """The producer's name of the task."""
        self.is_new: Final = is_new
        """False if the task had been created before under this id."""

    def fetch(self) -> AsyncTask:
        """Return the task as stored now; raises TaskNotFound once it is pruned."""
        return self._service().get(self.task_id)

    def status(self) -> TaskStatus:
        """Return the task's status now; raises TaskNotFound once it is pruned."""
        return self.fetch().status

    def progress(self) -> Progress | None:
        """Return what the task has told about its progress; None if nothing yet.

        Raises TaskNotFound once it is pruned.
        """
        return decode_progress(self.fetch().progress)

    def steps(self) -> list[StepRecord]:
        """Return the stored steps of the task, in the order in which they were stored."""
        return self._service().storage.steps(self.task_id)

    def result(self, timeout: float | None = None) -> R:
        """Wait until the task has ended and return what its executor returned.

        ``timeout`` is seconds, None = as long as it takes, 0 = only look. Raises ResultTimeout
        (the task goes on), TaskFailed, TaskCanceled, TaskNotFound, or PayloadError if the value
        cannot be read.
        """
        if timeout is not None and not timeout >= 0:
            raise InvalidArgument("timeout", timeout, "must be >= 0 seconds, or None")
        clock = self._service().clock
        deadline = None if timeout is None else clock.monotonic() + timeout
        pause, wait = Wake(), _FIRST_WAIT
        while True:
            task = self.fetch()
            if task.status.is_final:
                return self._outcome(task)
            if deadline is not None:
                left = deadline - clock.monotonic()
                if left <= 0:
                    raise ResultTimeout(self.task_id, timeout or 0.0)
                wait = min(wait, left)
            pause.wait(wait)
            wait = min(wait * 1.5, _LONGEST_WAIT)

    def cancel(self) -> bool:
        """Ask for cancellation; return whether the task had not ended yet. Idempotent."""
        return not self._service().cancel(self.task_id).ignored

    def _outcome(self, task: AsyncTask) -> R:
        if task.status is TaskStatus.CANCELED:
            raise TaskCanceled(task.id)
        result = task.execute_result
        if result is None or result.code is ResultCode.FAILED:
            raise TaskFailed(task.id, result.error if result else "no result was stored")
        return self._decode(result.value)

    def __repr__(self) -> str:
        """Return ids only; asks nobody."""
        return f"TaskHandle(task_id={self.task_id}, id={self.id!r})"
