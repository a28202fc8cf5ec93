"""``MODULE:APP`` on the command line: finding and importing the user's app."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Final

from mqtasks.errors import ConfigError, MQTasksError

if TYPE_CHECKING:
    from mqtasks.app import MQTasks

_FORM: Final = "name it MODULE:APP, as in myproject.tasks:app"


class AppImportError(ConfigError):
    """The app could not be imported; the message says where its module failed."""


def load_app(name: str) -> MQTasks:
    """Import the app called ``MODULE:APP``; the working folder is searched first.

    Raises AppImportError if there is no such module or name, or if importing it raises.
    """
    module_name, colon, attribute = name.partition(":")
    if not module_name or not colon or not attribute:
        raise AppImportError(f"app={name!r}: {_FORM}")
    folder = os.getcwd()  # noqa: PTH109 - sys.path holds str
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = importlib.import_module(module_name)
    except MQTasksError:
        raise  # says itself which setting is wrong
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise AppImportError(
                f"app={name!r}: there is no module {error.name!r} in {folder} or on PYTHONPATH;"
                f" {_FORM}"
            ) from error
        raise AppImportError(f"app={name!r}: {_where(error)}") from error
    except (Exception, SystemExit) as error:  # a script that calls sys.exit() ends only itself
        raise AppImportError(f"app={name!r}: {_where(error)}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise AppImportError(f"app={name!r}: {module_name} has no {attribute!r}; {_FORM}")
        found = getattr(found, part)
    from mqtasks.app import MQTasks

    if not isinstance(found, MQTasks):
        kind = type(found).__name__
        raise AppImportError(f"app={name!r}: is of type {kind}, not an MQTasks app")
    return found


def load_worker_app(name: str) -> MQTasks:
    """As `load_app`; also raises AppImportError if the app has no task to run."""
    app = load_app(name)
    if not app.registry.codes():
        raise AppImportError(
            f"app={name!r} has no task: decorate a function with @app.task, and import its module"
            " in the one that is named"
        )
    return app


def _where(error: Exception | SystemExit) -> str:
    """Return the error and the line of the user's code that it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next(
        (f"{f.filename}:{f.lineno}" for f in reversed(frames) if "importlib" not in f.filename),
        "unknown place",
    )
    if isinstance(error, SyntaxError):
        place = f"{error.filename}:{error.lineno}"
    return f"importing it failed at {place}: {type(error).__name__}: {error}"
