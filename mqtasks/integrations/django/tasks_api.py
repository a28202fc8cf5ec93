"""Django's tasks, wherever they are: ``django.tasks`` (Django 6), or ``django_tasks`` before it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Final

BUILTIN: Final = "django.tasks"
BACKPORT: Final = "django_tasks"


@dataclass(frozen=True, slots=True)
class TasksApi:
    """What one of the two packages calls its parts."""

    package: str
    backend: Any
    """Base class of backends."""
    result: Any
    """TaskResult."""
    status: Any
    """TaskResultStatus."""
    error: Any
    """TaskError."""
    context: Any
    """TaskContext."""
    task: Any
    """Task."""
    not_found: Any
    """Raised where there is no such result."""
    normalize_json: Any
    """Makes plain JSON of what can be, and raises TypeError for the rest."""
    enqueued: Any
    started: Any
    finished: Any
    """Signals."""

    @classmethod
    def of(cls, package: str) -> TasksApi:
        """Return the parts of ``package``. Raises ImportError if it is not there."""
        base = importlib.import_module(f"{package}.base")
        signals = importlib.import_module(f"{package}.signals")
        return cls(
            package,
            importlib.import_module(f"{package}.backends.base").BaseTaskBackend,
            base.TaskResult,
            base.TaskResultStatus,
            base.TaskError,
            base.TaskContext,
            base.Task,
            importlib.import_module(f"{package}.exceptions").TaskResultDoesNotExist,
            base.normalize_json,
            signals.task_enqueued,
            signals.task_started,
            signals.task_finished,
        )


def present() -> TasksApi:
    """Return those of Django itself, or else the backport's.

    Raises ImportError that names the remedy.
    """
    try:
        return TasksApi.of(BUILTIN)
    except ImportError:
        pass
    try:
        return TasksApi.of(BACKPORT)
    except ImportError as error:
        raise ImportError(
            "Django has no tasks before version 6: pip install django-tasks, or upgrade Django"
        ) from error
