"""Flask: an application configured by ``app.config``, and reached by the current Flask app.

Its tasks run in an application context, and ``flask mqtasks`` is the mqtasks program.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import click
import flask
from flask.cli import ScriptInfo, pass_script_info

from mqtasks.app import MQTasks
from mqtasks.config import OPTIONS
from mqtasks.errors import ConfigError, MQTasksError
from mqtasks.integrations.program import program
from mqtasks.middleware import CallNext, ExecutionContext, Middleware

_KEY: Final = "mqtasks"
_SETTINGS: Final = tuple(known.name for known in OPTIONS)
_LOADER: Final = "mqtasks.integrations.flask_worker:app"


class MQTasksFlask:
    """Ties an application to a Flask app: at once, or later by `init_app`.

    ``MQTASKS_URL``, ``MQTASKS_REDIS`` and all other settings of mqtasks that ``app.config`` has win
    over what the application says of itself; None there counts as not set. From then on its tasks
    run in the Flask app's application context, and the Flask app has the command ``mqtasks``.
    Nothing is connected before the first use.
    """

    def __init__(self, tasks: MQTasks, flask_app: flask.Flask | None = None) -> None:
        """Keep ``tasks``; with ``flask_app``, do what `init_app` does."""
        self.tasks: Final = tasks
        self._context = FlaskContext()
        if flask_app is not None:
            self.init_app(flask_app)

    def init_app(self, flask_app: flask.Flask) -> None:
        """Configure the application by the Flask app's configuration. Raises ConfigError.

        May be called for another Flask app later, whose contexts and settings then count.
        """
        config = flask_app.config
        given: dict[str, Any] = {
            name: config[f"MQTASKS_{name.upper()}"]
            for name in _SETTINGS
            if config.get(f"MQTASKS_{name.upper()}") is not None
        }
        if given:
            self.tasks.configure(self.tasks.settings.replace(**given))
        self._context.make = flask_app.app_context
        self.tasks.use(self._context)
        flask_app.extensions[_KEY] = self.tasks
        flask_app.cli.add_command(_command)


class FlaskContext(Middleware):
    """Middleware: executors run in an application context, which each gets for itself.

    ``make`` makes one; None = there is no Flask app yet, and none is pushed.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Any]] | None = None) -> None:
        """Keep ``make``, a Flask app's ``app_context``."""
        self.make = make

    def execute(self, call_next: CallNext[ExecutionContext], context: ExecutionContext) -> Any:
        """Push a context around an execution; teardown functions run after it."""
        if self.make is None:
            return call_next(context)
        with self.make():
            return call_next(context)

    async def aexecute(
        self, call_next: CallNext[ExecutionContext], context: ExecutionContext
    ) -> Any:
        """As `execute`; teardown functions run in the event loop."""
        if self.make is None:
            return await call_next(context)
        with self.make():
            return await call_next(context)


def get_app() -> MQTasks:
    """Return the application of the current Flask app.

    Raises ConfigError if it has none, RuntimeError outside of an application context.
    """
    return app_of(flask.current_app)


def app_of(flask_app: flask.Flask) -> MQTasks:
    """Return the application of a Flask app. Raises ConfigError if it has none."""
    tasks = flask_app.extensions.get(_KEY)
    if not isinstance(tasks, MQTasks):
        raise ConfigError(
            "this Flask app has no mqtasks application: call MQTasksFlask(app).init_app(flask_app)"
        )
    return tasks


@click.command(
    "mqtasks",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    short_help="Run the mqtasks program: worker, scheduler, tasks list, ...",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@pass_script_info
def _command(info: ScriptInfo, arguments: tuple[str, ...]) -> None:
    """Become the mqtasks program, with this application and its settings."""
    tasks = app_of(info.load_app())
    try:
        command, environment = program(arguments, _LOADER, lambda: tasks.settings)
    except MQTasksError as error:
        raise click.ClickException(str(error)) from error
    if info.app_import_path:
        environment["FLASK_APP"] = info.app_import_path
    os.execve(command[0], command, environment)  # noqa: S606 - our own interpreter
