"""SQLAlchemy's connections and sessions, and their events.

A session tells when it has committed. A connection tells only that it is about to; so what waits
for its commit is done when the connection goes back to the pool, or begins its next transaction.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from mqtasks.storage.caller.handle import Handle

_WAITING: Final = "mqtasks calls that wait for a commit"
_COMMITTED: Final = "mqtasks calls whose commit was sent"


class ConnectionHandle(Handle):
    """A ``Connection``. It notices that it has begun, so that its commit is a commit."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        if not connection.in_transaction():
            connection.begin()
        super().__init__(connection.connection.dbapi_connection)

    def commit(self) -> None:
        """Commit."""
        self._connection.commit()

    def rollback(self) -> None:
        """Roll back."""
        self._connection.rollback()

    def after_commit(self, call: Callable[[], object]) -> bool:
        """Run ``call`` when the connection is given back, or begins anew, after its commit."""
        connection = self._connection
        _listen(
            (connection, "commit", _committing),
            (connection, "rollback", _rolled_back),
            (connection, "begin", _begun),
            (connection.engine.pool, "checkin", _given_back),
        )
        connection.info.setdefault(_WAITING, []).append(call)
        return True


class SessionHandle(Handle):
    """A ``Session``, or what ``scoped_session`` made."""

    def __init__(self, session: Any) -> None:
        if isinstance(session, sys.modules["sqlalchemy.orm"].scoped_session):
            session = session()
        self._session = session
        super().__init__(session.connection().connection.dbapi_connection)

    def flush(self) -> None:
        """Send what the session has kept back."""
        self._session.flush()

    def commit(self) -> None:
        """Commit."""
        self._session.commit()

    def rollback(self) -> None:
        """Roll back."""
        self._session.rollback()

    def after_commit(self, call: Callable[[], object]) -> bool:
        """Run ``call`` when the session's outermost transaction has been committed."""
        session = self._session
        _listen((session, "after_commit", _sent), (session, "after_transaction_end", _ended))
        session.info.setdefault(_WAITING, []).append(call)
        return True


def _listen(*listeners: tuple[Any, str, Callable[..., None]]) -> None:
    event = sys.modules["sqlalchemy"].event
    for listener in listeners:
        if not event.contains(*listener):
            event.listen(*listener)


def _sent(session: Any) -> None:
    if not session.in_nested_transaction():
        _committing(session)


def _ended(session: Any, transaction: Any) -> None:
    if transaction.parent is None:
        session.info.pop(_WAITING, None)
        _run(session.info)


def _committing(connection: Any) -> None:
    calls = connection.info.pop(_WAITING, [])
    connection.info.setdefault(_COMMITTED, []).extend(calls)


def _rolled_back(connection: Any) -> None:
    connection.info.pop(_WAITING, None)


def _begun(connection: Any) -> None:
    _run(connection.info)


def _given_back(_driver: Any, record: Any) -> None:
    record.info.pop(_WAITING, None)
    _run(record.info)


def _run(info: Any) -> None:
    for call in info.pop(_COMMITTED, ()):
        call()
