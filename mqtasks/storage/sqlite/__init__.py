"""Tasks in an SQLite file: the shared SQL storage over one writer and a few readers (P13)."""

from mqtasks.storage.sqlite.storage import SQLiteTaskStorage

__all__ = ["SQLiteTaskStorage"]
