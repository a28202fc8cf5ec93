"""The statements that a MySQL storage sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mqtasks.storage.mysql.session import MySQLSession

Sent = Callable[[Callable[[], object]], list[str]]


def record_statements(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Return a function that runs an operation and returns the statements it sent, in order."""
    statements: list[str] = []
    for name in ("_write", "_read"):
        original = getattr(MySQLSession, name)

        def recording(self: Any, sql: str, original: Any = original) -> Any:
            statements.append(sql)
            return original(self, sql)

        monkeypatch.setattr(MySQLSession, name, recording)

    def sent(operation: Callable[[], object]) -> list[str]:
        statements.clear()
        operation()
        return list(statements)

    return sent
