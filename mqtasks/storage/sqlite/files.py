"""Opening the file: pragmas, and refusing places where SQLite's locks do not work."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from mqtasks.errors import ConfigError
from mqtasks.storage.sqlite.errors import classify, schema_error

BUSY_TIMEOUT: Final = 5.0
"""Seconds a connection waits for another process's lock before it reports a conflict."""
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "fuse.sshfs", "lustre"}
)
_MOUNTS: Final = Path("/proc/mounts")


def open_file(path: str, *, readonly: bool = False) -> sqlite3.Connection:
    """Open a connection in autocommit mode, for the hands of one thread at a time.

    A ``readonly`` one never creates the file. Raises what `classify` makes of the driver's error:
    StorageUnavailable, ConfigError or StorageError; SchemaMismatch if there is no file to read.
    """
    try:
        return _open(path, readonly=readonly)
    except sqlite3.Error as error:
        if not readonly or not _cannot_open(error):
            raise classify(error, path).error from error
        if is_absent(path):
            raise schema_error(f"SQLite file {path}", "no such file") from error
    try:
        return _open(path, readonly=readonly)  # somebody has created it just now
    except sqlite3.Error as error:
        raise classify(error, path).error from error


def _open(path: str, *, readonly: bool) -> sqlite3.Connection:
    mode = "rw" if readonly else "rwc"  # never "ro": readers too may have to recover the WAL
    connection = sqlite3.connect(
        f"file://{quote(os.fsencode(path))}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if readonly:
            connection.execute("PRAGMA query_only = 1")
        else:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def _cannot_open(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CANTOPEN


def checked_path(path: str | Path) -> str:
    """Return the absolute path of a database file; raises ConfigError for an unusable one."""
    text = str(path)
    if not text or text == ":memory:" or text.startswith("file:"):
        raise ConfigError(
            f"path={text!r}: an SQLite storage needs a file that several connections can open;"
            " name one, or use memory:// for tasks that live in one process"
        )
    absolute = Path(text).expanduser().absolute()
    kind = _filesystem(absolute)
    if kind in _NETWORK:
        raise ConfigError(
            f"path={str(absolute)!r} is on a network file system ({kind}), where SQLite's locks"
            " do not work; use a local disk, or MySQL"
        )
    return str(absolute)


def is_absent(path: str) -> bool:
    """Return whether there is no such file in a folder that exists."""
    try:
        return Path(path).parent.is_dir() and not Path(path).exists()
    except OSError:
        return False  # a folder that may not be searched


def _filesystem(path: Path) -> str:
    """Return the type of the file system a path is on; empty where that is not known."""
    try:
        lines = _MOUNTS.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    place = str(path.parent.resolve())
    for line in lines:
        _, mount, name, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        inside = place == mount or place.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, name
    return kind
