"""What SQLite's errors mean. The one place that knows their codes."""

from __future__ import annotations

import sqlite3
from typing import Final

from mqtasks.errors import (
    ConfigError,
    MQTasksError,
    SchemaMismatch,
    StorageConflict,
    StorageError,
    StorageUnavailable,
)
from mqtasks.storage.sql.dialect import Failure, Kind

_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_UNAVAILABLE: Final = {
    sqlite3.SQLITE_FULL: "the disk (or the file's size limit) is full; free some space",
    sqlite3.SQLITE_READONLY: "the file or its folder is read-only; WAL needs to write both",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; check that its folder exists and that"
    " this user may write there",
    sqlite3.SQLITE_PERM: "access is denied; check the file's permissions",
    sqlite3.SQLITE_IOERR: "reading or writing the file failed; check the disk",
    sqlite3.SQLITE_PROTOCOL: "locking the file failed; network file systems are not supported",
    sqlite3.SQLITE_INTERRUPT: "the statement was interrupted",
    sqlite3.SQLITE_NOMEM: "memory is exhausted",
}
_BROKEN: Final = {
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore a backup",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database; name another one in the URL",
    sqlite3.SQLITE_TOOBIG: "a value is larger than SQLite takes; store large data elsewhere and"
    " pass a reference",
}
_OTHER_SCHEMA: Final = ("no such table", "no such column", "has no column", "no such index")
_UNIQUE: Final = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}


def is_duplicate(error: sqlite3.Error) -> bool:
    """Return whether a unique key is taken."""
    return getattr(error, "sqlite_errorcode", 0) in _UNIQUE


def classify(error: BaseException, path: str) -> Failure:
    """Judge an error of the driver."""
    extended = getattr(error, "sqlite_errorcode", None)
    code = None if extended is None else extended & 0xFF
    where = f"SQLite file {path}"
    if code in _BUSY:
        return Failure(
            Kind.CONFLICT,
            StorageConflict(f"{where}: another process kept it locked too long ({error})"),
        )
    if code in _UNAVAILABLE:
        return Failure(Kind.REFUSED, StorageUnavailable(f"{where}: {_UNAVAILABLE[code]} ({error})"))
    if code in _BROKEN:
        # No database at all: it is the setting that is wrong, not the storage.
        raised = ConfigError if code == sqlite3.SQLITE_NOTADB else StorageError
        return Failure(Kind.FATAL, raised(f"{where}: {_BROKEN[code]} ({error})"))
    text = str(error)
    if any(sign in text for sign in _OTHER_SCHEMA):
        return Failure(Kind.FATAL, schema_error(where, text))
    if code is None and isinstance(error, sqlite3.ProgrammingError) and "closed" in text:
        return Failure(Kind.REFUSED, StorageUnavailable(f"{where} was closed; make a new storage"))
    return Failure(Kind.FATAL, StorageError(f"{where}: {error}"))


def schema_error(where: str, text: str) -> MQTasksError:
    """Return the error for tables that are not what this release expects."""
    return SchemaMismatch(
        f"{where}: the schema is missing or of another release ({text}); run: mqtasks migrate up"
    )
