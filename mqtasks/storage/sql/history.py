"""Writing history rows: one for every allocation that did not end in success."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mqtasks.storage.sql.dialect import Session

HistoryRow = tuple[int, int, int | None, bytes, bytes]
"""Task id, outcome, elapsed ms (None: since the row's started_at), error, traceback."""
_FIELDS: Final = ("task_id", "outcome", "elapsed", "error", "traceback")


def record_attempts(session: Session, rows: Sequence[HistoryRow]) -> None:
    """Write history for locked tasks, before their rows change: epoch and runner are the rows'."""
    if rows:
        session.run_each("record_attempts", _FIELDS, rows)
