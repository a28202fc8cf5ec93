"""Exit codes, and the one place that turns an error into a line for people and a code.

``docs/reference/cli.md`` documents the codes; they never change meaning.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from mqtasks.errors import (
    ConfigError,
    CoordinationUnavailable,
    MQTasksError,
    PayloadError,
    SchemaMismatch,
    StorageUnavailable,
    UnknownExecutor,
)


class ExitCode(IntEnum):
    """What the process tells its caller."""

    OK = 0
    FAILURE = 1
    """What was asked for did not succeed."""
    USAGE = 2
    """Command line, setting, login, argument or import is wrong; trying again changes nothing."""
    UNREACHABLE = 3
    """The database (or Redis) cannot be reached now."""
    UNHEALTHY = 4
    """Nothing that could do the work is alive."""
    SCHEMA = 5
    """The schema of the database is missing, too old or too new."""


INTERRUPTED: Final = 130
"""As shells report it: 128 + SIGINT."""


class Failed(MQTasksError):
    """A command that could not do what it was asked to; ends with ``code``."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILURE) -> None:
        super().__init__(message)
        self.code = code


_CODES: Final[tuple[tuple[type[MQTasksError], ExitCode], ...]] = (
    (SchemaMismatch, ExitCode.SCHEMA),
    (StorageUnavailable, ExitCode.UNREACHABLE),
    (CoordinationUnavailable, ExitCode.UNREACHABLE),
    (ConfigError, ExitCode.USAGE),
    (PayloadError, ExitCode.USAGE),
    (UnknownExecutor, ExitCode.USAGE),
)


def code_of(error: BaseException) -> ExitCode:
    """Return the exit code for an error."""
    if isinstance(error, Failed):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILURE)


def line_of(error: BaseException) -> str:
    """Return the error as one line. Errors of mqtasks say all that is needed; a bug says its type.

    Line breaks (some drivers make them) become blanks, so that logs keep one line per event.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, MQTasksError) else f"unexpected {type(error).__name__}: {text}"
