"""Log lines on stderr: for people, or one JSON object per line. Passwords are masked in both."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

from mqtasks.cli.secrets import scrub

_EXTRA: Final = ("task_id", "epoch", "attempt", "executor", "runner", "trace_id")


def setup_logging(level: str, log_format: str) -> None:
    """Send all log records from ``level`` up to stderr, replacing earlier handlers of ours."""
    root = logging.getLogger()
    for handler in [item for item in root.handlers if isinstance(item, _Stderr)]:
        root.removeHandler(handler)
    handler = _Stderr()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root.addHandler(handler)
    root.setLevel(level.upper())


class _Stderr(logging.StreamHandler[Any]):
    """Writes to whatever `sys.stderr` is now."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)


class TextFormatter(logging.Formatter):
    """``2026-01-31 12:00:00.123Z INFO mqtasks.worker: text``, then the ids if there are any."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with a traceback below it if the record holds one."""
        ids = " ".join(f"{key}={value}" for key, value in _ids(record).items())
        line = f"{_time(record)} {record.levelname} {record.name}: {record.getMessage()}"
        parts = [f"{line} [{ids}]" if ids else line]
        if record.exc_info:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(record.stack_info)
        return scrub("\n".join(parts))


class JsonFormatter(logging.Formatter):
    """One object per line: time, level, logger, message, ids, and ``exception`` if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Any] = {
            "time": _time(record).replace(" ", "T"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": scrub(record.getMessage()),
            "pid": record.process,
            **_ids(record),
        }
        if record.exc_info:
            fields["exception"] = scrub(self.formatException(record.exc_info))
        return json.dumps(fields, default=str, ensure_ascii=False)


def _ids(record: logging.LogRecord) -> dict[str, Any]:
    found = {name: getattr(record, name, None) for name in _EXTRA}
    return {name: value for name, value in found.items() if value is not None}


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")
