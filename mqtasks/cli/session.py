"""From the command line to settings, logging and connections."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mqtasks.cli.options import given_settings
from mqtasks.cli.origins import warn_of_unused_variables

if TYPE_CHECKING:
    from mqtasks.app import MQTasks
    from mqtasks.config import Settings
    from mqtasks.runtime import Runtime
    from mqtasks.service import TaskService


def load_settings(app: MQTasks | None = None, *, chatty: bool = False) -> Settings:
    """Return the settings in force, and log as they say.

    What stands on the command line wins over what ``app`` says of itself, and that over variables
    and files. Without a level of its own a command logs warnings; a ``chatty`` one, which runs
    until it is stopped, logs what happens, too.
    """
    from mqtasks.cli.secrets import remember
    from mqtasks.config import Settings

    given = given_settings()
    remember(given.get("url"), given.get("redis"))
    if app is None:
        settings = Settings.load(**given)
    else:
        settings = app.settings.replace(**given) if given else app.settings
        app.configure(settings)
    log_as(settings, chatty=chatty)
    if app is not None:
        warn_of_unused_variables(settings)
    return settings


def log_as(settings: Settings, *, chatty: bool) -> None:
    """Log as these settings say, and never their passwords. May be called again."""
    from mqtasks.cli.logs import setup_logging
    from mqtasks.cli.secrets import remember

    remember(settings.url, settings.redis)
    quiet = settings.origins["log_level"] == "default" and not chatty
    setup_logging("warning" if quiet else settings.log_level, settings.log_format)
    if settings.log_context == "task" and chatty:
        from mqtasks.worker.logs import add_task_fields

        add_task_fields()


@contextlib.contextmanager
def open_runtime(
    app: MQTasks | None = None,
    *,
    check_schema: bool = True,
    create: bool = False,
    chatty: bool = False,
) -> Iterator[Runtime]:
    """Connect as the command line says; close at the end.

    An SQLite file is created, or its schema updated, only with ``create``: a mistyped path must
    not look like an empty database to who only reads.
    """
    settings = load_settings(app, chatty=chatty)
    from mqtasks.runtime import Runtime

    with Runtime.open(settings, check_schema=check_schema, create=create) as runtime:
        if app is not None:
            runtime.service.registry = app.registry  # its middlewares stand around creating tasks
        yield runtime


@contextlib.contextmanager
def open_service(app: MQTasks | None = None, *, create: bool = False) -> Iterator[TaskService]:
    """Connect as the command line says and yield the task service; see `open_runtime`."""
    with open_runtime(app, create=create) as runtime:
        yield runtime.service
