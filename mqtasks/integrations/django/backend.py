"""``MQTasksBackend``: Django's own tasks, executed by mqtasks.

``django.tasks`` of Django 6 if there is one, else the package django-tasks.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from mqtasks.app.ids import new_metadata_id
from mqtasks.app.options import changed_options
from mqtasks.errors import InvalidArgument
from mqtasks.integrations.django.application import app
from mqtasks.integrations.django.execution import Execution
from mqtasks.integrations.django.results import result_of
from mqtasks.integrations.django.tasks_api import TasksApi, present
from mqtasks.middleware import on_error
from mqtasks.model import (
    DEFAULT_OPTIONS,
    AsyncTask,
    Attempt,
    NewTask,
    TaskMetadata,
    TaskOptions,
)
from mqtasks.payload import CallSignature
from mqtasks.registry import DEFAULT_CODEC, TaskDefinition

_API: Final[TasksApi] = present()
_Base: Any = _API.backend
_FIXED: Final = ("tenant", "priority", "labels", "headers", "delay", "delay_duration")
"""Options that follow from a task of Django's, and cannot be the backend's."""
_ALIAS: Final = "django-backend"
"""Header with the alias of a task's backend, unless that is ``default``."""
_DEFAULT: Final = "default"
_tasks: Final[dict[str, Any]] = {}
"""Tasks of Django's by executor code. (Django makes a backend for each thread.)"""
_signatures: Final[dict[str, CallSignature]] = {}
"""How their functions may be called, by executor code."""


class MQTasksBackend(_Base):  # type: ignore[misc]
    """Backend of ``TASKS`` in Django's settings; its tasks belong to `app`.

    ``OPTIONS`` are fields of `mqtasks.TaskOptions` for all its tasks (``max_retry_times``,
    ``timeout``, …), and ``queue_label``: with it only runners whose label of that name is the queue
    take a task that is not in the queue ``default``. Without it all runners serve all queues,
    which take turns; ``manage.py mqtasks pause tenant QUEUE`` holds one back.

    In ``atomic``, a task is a row of the transaction if the tasks live in the database that it
    concerns, see `DjangoTasks`; else it is created at once.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        """Read the options. Raises InvalidArgument for a bad one."""
        super().__init__(alias, params)
        given = dict(self.options)
        self._queue_label: str = given.pop("queue_label", "")
        for name in _FIXED:
            if name in given:
                raise InvalidArgument("OPTIONS", name, "is decided by each task itself")
        self._options = changed_options(DEFAULT_OPTIONS, given)

    def validate_task(self, task: Any) -> None:
        """Refuse what cannot be a task, and register what can: called for each that is declared."""
        super().validate_task(task)
        code = task.module_path
        if code not in _tasks:
            function = _execution.function_of(task)
            app.registry.register(TaskDefinition.call(code, function, self._options))
            _signatures[code] = _signature(task)
            _tasks[code] = task

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Create a task; see the class.

        Raises PayloadError, naming the argument, if the function cannot be called like this, and
        TypeError for arguments that are not JSON.
        """
        self.validate_task(task)
        _signatures[task.module_path].check(args, kwargs)
        plain_args, plain_kwargs = (
            _API.normalize_json(list(args)),
            _API.normalize_json(dict(kwargs)),
        )
        context = DEFAULT_CODEC.encode_call(plain_args, plain_kwargs)
        metadata = TaskMetadata(
            new_metadata_id(), task.module_path, context, self._options_of(task)
        )
        new = NewTask(metadata, run_at=_due(task))
        service, database = app.service, app.database
        if database is not None and transaction.get_connection(database).in_atomic_block:
            service.create_tasks_in(transaction.get_connection(database), [new])
        else:
            service.create_tasks([new])
        result = _API.result(
            task=task,
            id=metadata.id,
            status=_API.status.READY,
            enqueued_at=timezone.now(),
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=plain_args,
            kwargs=plain_kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        _API.enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> Any:
        """Return the result of a task as stored now. Raises TaskResultDoesNotExist."""
        row = app.service.storage.find([result_id]).get(result_id)
        found = None if row is None else _result(row, app.service.attempts(row.id))
        if found is None:
            raise _API.not_found(result_id)
        return found

    def _options_of(self, task: Any) -> TaskOptions:
        changes: dict[str, Any] = {"tenant": task.queue_name, "priority": task.priority}
        if self._queue_label and task.queue_name != _DEFAULT:
            changes["labels"] = {self._queue_label: task.queue_name}
        if self.alias != _DEFAULT:
            changes["headers"] = {_ALIAS: self.alias}
        return changed_options(self._options, changes)


def _signature(task: Any) -> CallSignature:
    """Return how a task may be called. Its annotations stay without effect, as in Django."""
    signature = inspect.signature(task.func)
    if task.takes_context:
        _, *parameters = signature.parameters.values()
        signature = signature.replace(parameters=parameters)
    return CallSignature(task.func.__name__, signature, {})


def _due(task: Any) -> int:
    """Return when a task is due, in unix ms; 0 = now."""
    if task.run_after is None:
        return 0
    moment = task.run_after
    if timezone.is_naive(moment):
        moment = timezone.make_aware(moment)
    return max(1, int(moment.timestamp() * 1000))


def _current(row: AsyncTask) -> Any:
    """Return the result of a task that is being executed, or None if it is not Django's."""
    return _result(row, app.service.attempts(row.id) if row.epoch > 1 else ())


def _result(row: AsyncTask, attempts: Sequence[Attempt]) -> Any:
    task = _task(row)
    return None if task is None else result_of(_API, row, attempts, task, task.backend)


def _task(row: AsyncTask) -> Any:
    """Return the task of Django's that a row was made of; None if it was made of none."""
    metadata = row.metadata
    code = str(metadata.executor)
    task = _tasks.get(code)
    if task is None and "." in code:
        try:
            import_string(code)  # declares it
        except ImportError:
            return None
        task = _tasks.get(code)
    if task is None:
        return None
    alias = metadata.options.headers.get(_ALIAS, _DEFAULT)
    return task.using(
        priority=row.priority, queue_name=metadata.options.tenant or _DEFAULT, backend=alias
    )


_execution: Final = Execution(_API, lambda: MQTasksBackend, _current)
app.use(on_error(_execution.failed))
