"""An application as the processes of a worker see it: imported by name, told its settings."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from typing import Any, Protocol

from mqtasks.config import Settings
from mqtasks.errors import ConfigError, MQTasksError
from mqtasks.registry import TaskRegistry
from mqtasks.service import TaskService
from mqtasks.worker.logs import add_task_fields


class WorkerApp(Protocol):
    """What ``MODULE:APP`` has to name; `mqtasks.MQTasks` is one."""

    @property
    def registry(self) -> TaskRegistry:
        """Its executors."""
        ...

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        ...

    @property
    def service(self) -> TaskService:
        """The task service, connected at first use."""
        ...

    def configure(self, settings: Settings) -> None:
        """Use these settings from now on."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


def load_app(name: str) -> Any:
    """Import ``MODULE:APP``, the working folder first. Raises ConfigError naming the remedy."""
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ConfigError(f"app={name!r}: name it MODULE:APP, as in myproject.tasks:app")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except MQTasksError:
        raise
    except Exception as error:
        raise ConfigError(f"app={name!r}: {type(error).__name__}: {error}") from error
    if not isinstance(getattr(found, "registry", None), TaskRegistry):
        raise ConfigError(f"app={name!r}: is of type {type(found).__name__}, not an MQTasks app")
    return found


def log_to_stderr(settings: Settings) -> None:
    """Log as the settings say, unless logging was set up already."""
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if settings.log_context == "task":
        add_task_fields()
