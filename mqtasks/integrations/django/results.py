"""Rows of mqtasks as Django's task results."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings as django_settings
from django.utils import timezone

from mqtasks.integrations.django.tasks_api import TasksApi
from mqtasks.model import AsyncTask, Attempt, AttemptOutcome, ResultCode, TaskStatus
from mqtasks.registry import DEFAULT_CODEC

_FAILURES: Final = {AttemptOutcome.FAILED, AttemptOutcome.TIMED_OUT, AttemptOutcome.CRASHED}
_NO_CLASS: Final = "mqtasks.errors.TaskFailed"
"""Stands for the class of an error that was no exception."""


def result_of(
    api: TasksApi, row: AsyncTask, attempts: Sequence[Attempt], task: Any, alias: str
) -> Any:
    """Return the TaskResult of a stored task; ``attempts`` is its history."""
    args, kwargs = DEFAULT_CODEC.decode_call(row.metadata.context, None)
    status = _status(api, row)
    runners = [one.runner for one in attempts]
    if status in {api.status.RUNNING, api.status.SUCCESSFUL}:  # of which there is no history yet
        runners.append(row.runner)
    starts = [one.started_at for one in attempts if one.started_at]
    last = row.started_at or max(starts, default=0)
    made = api.result(
        task=task,
        id=row.metadata.id,
        status=status,
        enqueued_at=_moment(row.created_at),
        started_at=_moment(min([*starts, last])),
        finished_at=_moment(row.completed_at),
        last_attempted_at=_moment(last),
        args=list(args),
        kwargs=dict(kwargs),
        backend=alias,
        errors=[
            api.error(exception_class_path=_class_path(one), traceback=one.traceback or one.error)
            for one in attempts
            if one.outcome in _FAILURES
        ],
        worker_ids=runners,
    )
    if status == api.status.SUCCESSFUL and row.execute_result is not None:
        value = DEFAULT_CODEC.decode_result(row.execute_result.value)
        object.__setattr__(made, "_return_value", value)
    return made


def _status(api: TasksApi, row: AsyncTask) -> Any:
    if row.status in {TaskStatus.RUNNING, TaskStatus.CANCEL_REQUESTED}:
        return api.status.RUNNING
    if not row.status.is_final:
        return api.status.READY
    result = row.execute_result
    succeeded = (
        row.status is TaskStatus.COMPLETED
        and result is not None
        and result.code is ResultCode.SUCCESS
    )
    return api.status.SUCCESSFUL if succeeded else api.status.FAILED


def _class_path(attempt: Attempt) -> str:
    """Return the path of the exception's class, as the last line of its traceback tells it."""
    if attempt.outcome == AttemptOutcome.TIMED_OUT:
        return "builtins.TimeoutError"
    lines = [line for line in attempt.traceback.splitlines() if line and not line[0].isspace()]
    name = lines[-1].partition(":")[0] if lines else ""
    if not all(part.isidentifier() for part in name.split(".")):
        return _NO_CLASS
    return name if "." in name else f"builtins.{name}"


def _moment(unix_ms: int) -> datetime | None:
    if not unix_ms:
        return None
    moment = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return moment if django_settings.USE_TZ else timezone.make_naive(moment)
