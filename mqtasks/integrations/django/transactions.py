"""Tasks created together with what a transaction of Django's writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, transaction

from mqtasks.app import Task, TaskHandle

R = TypeVar("R")


def enqueue(
    task: Task[..., R],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    using: str = DEFAULT_DB_ALIAS,
    same_database: bool = True,
    **options: Any,
) -> TaskHandle[R] | None:
    """Create a task if, and only if, the transaction around this call commits.

    With ``same_database`` the Django database ``using`` is the one that the tasks live in: inside
    ``atomic`` the task's row is part of the transaction, and the two are never apart. Otherwise
    the task is created right after the commit and None is returned; a crash in between, or an
    error then, which the caller of the commit gets, loses it.
    Outside of ``atomic`` the task is created at once. ``options`` are those of `Task.options`.

    Raises InvalidArgument if ``same_database`` is not true of ``using`` (checked inside ``atomic``
    only), TransactionAborted for an error of the database, and what `Task.enqueue` raises.
    """
    connection = transaction.get_connection(using)
    kwargs = kwargs or {}
    if not connection.in_atomic_block:
        return task.options(**options).enqueue(*args, **kwargs)
    if same_database:
        return task.options(connection=connection, **options).enqueue(*args, **kwargs)
    call = partial(task.options(**options).enqueue, *args, **kwargs)
    transaction.on_commit(call, using=using)
    return None
