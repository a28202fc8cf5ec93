"""`TaskHandle`: what `enqueue` returns, to watch and steer one task."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from mqtasks.errors import InvalidArgument, ResultTimeout, TaskCanceled, TaskFailed
from mqtasks.loop import Wake
from mqtasks.model import (
    AsyncTask,
    AttemptOutcome,
    Progress,
    ResultCode,
    StepRecord,
    TaskStatus,
    decode_progress,
)
from mqtasks.service import TaskService

R_co = TypeVar("R_co", covariant=True)


def checked_timeout(timeout: float | None) -> None:
    """Raise InvalidArgument unless ``timeout`` is None or seconds >= 0."""
    if timeout is not None and not timeout >= 0:
        raise InvalidArgument("timeout", timeout, "must be >= 0 seconds, or None")


class TaskHandle(Generic[R_co]):
    """One created task. Cheap to make; every method asks storage. Safe from many threads."""

    __slots__ = ("_decode", "_service", "id", "is_new", "task_id")

    def __init__(
        self,
        service: Callable[[], TaskService],
        task_id: int,
        metadata_id: str,
        decode: Callable[[bytes], R_co],
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
        """False if the task had been created before: under this id, or within its window."""

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

    def result(self, timeout: float | None = None) -> R_co:
        """Wait until the task has ended and return what its executor returned.

        ``timeout`` is seconds, None = as long as it takes, 0 = only look. Raises ResultTimeout
        (the task goes on), TaskFailed, TaskCanceled, TaskNotFound, or PayloadError if the value
        cannot be read.
        """
        if not self.wait(timeout):
            raise ResultTimeout(self.task_id, timeout or 0.0)
        return self._outcome(self.fetch())

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the task has ended, however it ended; return whether it has.

        ``timeout`` as in `result`. A task that is not stored any more counts as ended. Storage
        that is away is asked again until then. Raises StorageUnavailable if the application is
        closed meanwhile.
        """
        checked_timeout(timeout)
        service = self._service()
        if self.task_id not in service.storage.unended([self.task_id]):
            return True
        if timeout == 0:
            return False
        news = Wake()
        watch = service.waiter.watch([self.task_id], news.set, looked=True)
        try:
            news.wait(threading.TIMEOUT_MAX if timeout is None else timeout)
            return bool(watch.take())
        finally:
            watch.close()

    async def aresult(self, timeout: float | None = None) -> R_co:  # noqa: ASYNC109 - as `result`
        """As `result`, for event loops: nothing is blocked, and cancelling it ends the wait."""
        checked_timeout(timeout)
        service = self._service()
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits there
                loop.call_soon_threadsafe(news.set)

        watch = service.waiter.watch([self.task_id], tell)
        try:
            async with asyncio.timeout(timeout):
                await news.wait()
            watch.take()
        except TimeoutError:
            raise ResultTimeout(self.task_id, timeout or 0.0) from None
        finally:
            watch.close()
        return await asyncio.to_thread(lambda: self._outcome(self.fetch()))

    @property
    def service(self) -> TaskService:
        """The task service that holds the task; connected if it is not. Raises StorageError."""
        return self._service()

    def succeeded(self) -> bool:
        """Return whether the task has ended with a success; asks storage."""
        task = self.fetch()
        result = task.execute_result
        ended = task.status is TaskStatus.COMPLETED
        return ended and result is not None and result.code is ResultCode.SUCCESS

    def cancel(self) -> bool:
        """Ask for cancellation; return whether the task had not ended yet. Idempotent."""
        return not self._service().cancel(self.task_id).ignored

    def _outcome(self, task: AsyncTask) -> R_co:
        if task.status is TaskStatus.CANCELED:
            raise TaskCanceled(task.id, self._why_canceled())
        result = task.execute_result
        if result is None or result.code is ResultCode.FAILED:
            raise TaskFailed(task.id, result.error if result else "no result was stored")
        return self._decode(result.value)

    def _why_canceled(self) -> str:
        """Return what the history says: the executor's own reason, or which parent failed."""
        past = [item for item in self._service().attempts(self.task_id) if item.error]
        canceled = [item.error for item in past if item.outcome == AttemptOutcome.CANCELED]
        return canceled[-1] if canceled else ""

    def __repr__(self) -> str:
        """Return ids only; asks nobody."""
        return f"TaskHandle(task_id={self.task_id}, id={self.id!r})"
