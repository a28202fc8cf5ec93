"""What runs a task of Django's: its function, its context, its signals."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from asgiref.sync import sync_to_async
from django.utils import timezone

from mqtasks.integrations.django.tasks_api import TasksApi
from mqtasks.middleware import Failure
from mqtasks.model import AsyncTask
from mqtasks.worker import current_context


class Execution:
    """Executes tasks of Django's, and sends its signals where they run.

    ``task_started`` comes with each attempt, ``task_finished`` with success or the last failure. A
    receiver that fails is logged, and harms no task.
    """

    def __init__(
        self, api: TasksApi, sender: Callable[[], type[Any]], current: Callable[[AsyncTask], Any]
    ) -> None:
        """``current(row)`` is the result of a task in execution; None if it is not Django's."""
        self._api = api
        self._sender = sender
        self._current = current

    def function_of(self, task: Any) -> Callable[..., Any]:
        """Return what executes a task: plain or ``async def``, as its function is."""
        function, takes_context = task.func, task.takes_context

        def before() -> tuple[Any, tuple[Any, ...]]:
            result, now = self._current(current_context().task), timezone.now()
            _change(result, started_at=result.started_at or now, last_attempted_at=now)
            self._send(self._api.started, result)
            return result, (self._api.context(task_result=result),) if takes_context else ()

        def after(result: Any, value: Any) -> Any:
            plain = self._api.normalize_json(value)
            _change(result, status=self._api.status.SUCCESSFUL, finished_at=timezone.now())
            _change(result, _return_value=plain)
            self._send(self._api.finished, result)
            return plain

        if inspect.iscoroutinefunction(function):

            async def run_async(*args: Any, **kwargs: Any) -> Any:
                # Receivers may use the database, which Django forbids in an event loop.
                result, context = await sync_to_async(before)()
                value = await function(*context, *args, **kwargs)
                return await sync_to_async(after)(result, value)

            return run_async

        def run(*args: Any, **kwargs: Any) -> Any:
            result, context = before()
            return after(result, function(*context, *args, **kwargs))

        return run

    def failed(self, failure: Failure) -> None:
        """Tell Django of the last failure of a task."""
        if failure.will_retry:
            return
        loop = _running_loop()
        if loop is None:
            self._finish(failure)
        else:
            loop.run_in_executor(None, copy_context().run, self._finish, failure)

    def _finish(self, failure: Failure) -> None:
        result = self._current(failure.task)
        if result is not None:
            _change(result, status=self._api.status.FAILED, finished_at=timezone.now())
            self._send_while_handling(failure.error, result)

    def _send_while_handling(self, error: BaseException | None, result: Any) -> None:
        """Send ``task_finished``; Django's own receiver logs the exception in handling."""
        if error is None:
            self._send(self._api.finished, result)
            return
        try:
            raise error  # noqa: TRY301 - to be the one that is handled
        except BaseException:  # noqa: BLE001 - as above
            self._send(self._api.finished, result)

    def _send(self, signal: Any, result: Any) -> None:
        signal.send_robust(self._sender(), task_result=result)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _change(result: Any, **values: Any) -> None:
    """Change a result, which is frozen for everybody else."""
    for name, value in values.items():
        object.__setattr__(result, name, value)
