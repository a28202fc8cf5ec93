"""Flask: an application configured by ``app.config``, and reached by the current Flask app."""

from __future__ import annotations

from typing import Any, Final

import flask

from mqtasks.app import MQTasks
from mqtasks.errors import ConfigError

_KEY: Final = "mqtasks"
_SETTINGS: Final = ("url", "redis", "namespace")


class MQTasksFlask:
    """Ties an application to a Flask app: at once, or later by `init_app`.

    ``MQTASKS_URL``, ``MQTASKS_REDIS`` and ``MQTASKS_NAMESPACE`` of ``app.config`` win over what the
    application says of itself. Nothing is connected before the first use.
    """

    def __init__(self, tasks: MQTasks, flask_app: flask.Flask | None = None) -> None:
        """Keep ``tasks``; with ``flask_app``, do what `init_app` does."""
        self.tasks: Final = tasks
        if flask_app is not None:
            self.init_app(flask_app)

    def init_app(self, flask_app: flask.Flask) -> None:
        """Configure the application by the Flask app's configuration. Raises ConfigError."""
        config = flask_app.config
        given: dict[str, Any] = {
            name: config[f"MQTASKS_{name.upper()}"]
            for name in _SETTINGS
            if config.get(f"MQTASKS_{name.upper()}") is not None
        }
        if given:
            self.tasks.configure(self.tasks.settings.replace(**given))
        flask_app.extensions[_KEY] = self.tasks


def get_app() -> MQTasks:
    """Return the application of the current Flask app.

    Raises ConfigError if it has none, RuntimeError outside of an application context.
    """
    tasks = flask.current_app.extensions.get(_KEY)
    if not isinstance(tasks, MQTasks):
        raise ConfigError(
            "this Flask app has no mqtasks application: call MQTasksFlask(app).init_app(flask_app)"
        )
    return tasks
