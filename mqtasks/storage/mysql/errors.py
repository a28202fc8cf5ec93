"""What MySQL's and MariaDB's errors mean. The one place that knows their numbers."""

from __future__ import annotations

import re
from typing import Final

# By name: `pymysql.install_as_MySQLdb` with Django replaces the attribute `pymysql.err`.
from pymysql.err import Error

from mqtasks.errors import (
    ConfigError,
    InvalidArgument,
    MQTasksError,
    SchemaMismatch,
    StorageConflict,
    StorageError,
    StorageUnavailable,
)
from mqtasks.storage.sql.dialect import Failure, Kind

DUPLICATE: Final = 1062
DEADLOCK: Final = 1213

_CONFLICT: Final = {
    1020,  # MariaDB: record has changed since last read
    1205,  # lock wait timeout
    DEADLOCK,
    3058,  # deadlock on user locks
}
_LOST: Final = {
    0,  # the driver: the connection was closed before
    1158, 1159, 1160, 1161,  # packets that could not be read or written
    1184,  # aborted connection
    1927,  # MariaDB: connection was killed
    2006,  # server has gone away
    2013,  # lost connection during query
    2014,  # commands out of sync
    2027,  # malformed packet
    2055,  # lost connection at ...
    4031,  # MySQL: disconnected because of inactivity
}  # fmt: skip
_REFUSED: Final = {
    1290: "it runs read-only (a demoted primary?)",
    1792: "its transactions are read-only (a demoted primary?)",
    1836: "it runs in read-only mode (a demoted primary?)",
    1021: "its disk is full",
    1040: "it has too many connections: raise max_connections or lower pool_size",
    1041: "it is out of memory",
    1047: "it does not take statements now (a cluster node that is not ready?)",
    1053: "it is shutting down",
    1114: "a table or the disk is full",
    1129: "it blocks this host after many errors: run FLUSH HOSTS there",
    1203: "this user has too many connections",
    1226: "this user has used up a resource",
    1317: "the statement was interrupted",
    1969: "the statement took longer than its limit",
    2002: "it cannot be reached: is the server running, and host and port right?",
    2003: "it cannot be reached: is the server running, and host and port right?",
    2005: "the host is unknown",
    3024: "the statement took longer than its limit",
    3159: "it demands encryption: add ?ssl=require to the URL",
}
_LOGIN: Final = {
    1044: "the user may not use this database: GRANT it all privileges on it",
    1045: "user or password is wrong, or the user may not log in from this host",
    1049: "the database does not exist: run CREATE DATABASE",
    1142: "the user lacks a privilege: GRANT it all privileges on the mqtasks tables",
    1227: "the user lacks a privilege",
    1698: "the user may not log in with a password",
}
_SCHEMA: Final = {1054, 1146}
_BAD_VALUE: Final = {1153, 1264, 1366, 1406}
_UNRESOLVED: Final = "the host name cannot be resolved: correct it in the URL, or check DNS"
_UNKNOWN_HOST: Final = re.compile(r"gaierror|Errno -[235]\b|[Nn]ame or service|getaddrinfo")


def number(error: BaseException) -> int:
    """Return the error number; 0 if the driver gave none, -1 for an error of another kind."""
    if isinstance(error, Error):
        first = error.args[0] if error.args else 0
        return first if isinstance(first, int) else -1
    return 2013 if isinstance(error, OSError) else -1


def classify(error: BaseException, shown: str) -> Failure:
    """Judge a driver error; ``shown`` is the URL without its password."""
    failure: MQTasksError
    code = number(error)
    told = _message(error)
    if code in _LOST or "Packet sequence number wrong" in told:
        kind, failure = Kind.LOST, StorageUnavailable(f"{shown}: the connection broke ({told})")
    elif code in _CONFLICT:
        kind, failure = Kind.CONFLICT, StorageConflict(f"{shown}: {told} (tried several times)")
    elif code in _REFUSED:
        why = _UNRESOLVED if _UNKNOWN_HOST.search(told) else _REFUSED[code]
        kind, failure = Kind.REFUSED, StorageUnavailable(f"{shown}: {why} ({told})")
    else:
        kind, failure = Kind.FATAL, _fatal(code, told, shown)
    return Failure(kind, failure)


def _fatal(code: int, told: str, shown: str) -> MQTasksError:
    if code in _LOGIN:
        return ConfigError(f"{shown}: {_LOGIN[code]} ({told})")
    if code in _SCHEMA:
        return SchemaMismatch(
            f"{shown}: the schema is missing or of another release ({told});"
            " run: mqtasks migrate up"
        )
    if code in _BAD_VALUE:
        return InvalidArgument("row", code, told)
    return StorageError(f"{shown}: {told}")


def _message(error: BaseException) -> str:
    if isinstance(error, Error) and len(error.args) > 1:
        return f"{error.args[0]}: {error.args[1]}"
    return str(error) or type(error).__name__
