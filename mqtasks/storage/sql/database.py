"""Units of work: transactions, single statements and reads, with bounded retries.

Every write of the contract may be repeated (P10), so a unit is simply run again after a deadlock
or on a fresh connection; `Session.repeated` tells it when an earlier try may have been committed.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from mqtasks.errors import MQTasksError, StorageConflict, StorageUnavailable
from mqtasks.process.interrupt import shield
from mqtasks.storage.sql.dialect import Dialect, DuplicateKey, Failure, Kind, Session

T = TypeVar("T")

MAX_LOSSES: Final = 3
"""Tries of a unit whose connection breaks."""
_FIRST_PAUSE: Final = 0.004  # seconds; doubles, and a random part of it is waited
_LONGEST_PAUSE: Final = 0.25

_log = logging.getLogger("mqtasks.storage")


class Database:
    """Runs units of work over the sessions of a dialect. Safe to use from many threads."""

    def __init__(self, dialect: Dialect, name: str) -> None:
        self.dialect = dialect
        self._name = name
        self._closed = threading.Event()

    def read(self, work: Callable[[Session], T]) -> T:
        """Run queries, each seeing what is committed at that moment."""
        return self._run(_plain, work, write=False)

    def single(self, work: Callable[[Session], T]) -> T:
        """Run a unit whose only write is one statement, committed by itself where possible.

        A process frozen in the middle then holds no locks (P10).
        """
        unit = _plain if self.dialect.bare_writes else _transaction
        return self._run(unit, work, write=True)

    def transact(self, work: Callable[[Session], T]) -> T:
        """Run a unit as one transaction."""
        return self._run(_transaction, work, write=True)

    def close(self) -> None:
        """Refuse further units with StorageUnavailable, and end the waits of running ones."""
        self._closed.set()

    def _run(
        self,
        unit: Callable[[Session, Callable[[Session], T]], T],
        work: Callable[[Session], T],
        *,
        write: bool,
    ) -> T:
        conflicts = losses = 0
        repeated = False
        while True:
            if self._closed.is_set():
                raise StorageUnavailable(f"{self._name} was closed; make a new storage")
            try:
                return self._try(unit, work, write=write, repeated=repeated)
            except self.dialect.errors as error:
                failure = self.dialect.classify(error)
                cause: BaseException = error
            except DuplicateKey as error:
                # Somebody inserted the same key between our look and our write.
                failure = Failure(Kind.CONFLICT, StorageConflict(f"{self._name}: {error}"))
                cause = error
            if failure.kind is Kind.CONFLICT:
                conflicts += 1
                if conflicts >= self.dialect.tries:
                    raise failure.error from cause
                _log.debug("%s: try %d again: %s", self._name, conflicts, failure.error)
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**conflicts)
                self._closed.wait(pause * random.random())
                continue
            if failure.kind is Kind.FATAL:
                raise failure.error from cause
            losses += 1
            if failure.kind is Kind.REFUSED or losses >= MAX_LOSSES:
                raise failure.error from cause
            _log.info("%s: connection lost, trying again: %s", self._name, failure.error)
            repeated = True

    def _try(
        self,
        unit: Callable[[Session, Callable[[Session], T]], T],
        work: Callable[[Session], T],
        *,
        write: bool,
        repeated: bool,
    ) -> T:
        with shield:  # an executor that is aborted here would lose a connection of the pool
            return self._try_on(unit, work, write=write, repeated=repeated)

    def _try_on(
        self,
        unit: Callable[[Session, Callable[[Session], T]], T],
        work: Callable[[Session], T],
        *,
        write: bool,
        repeated: bool,
    ) -> T:
        dialect = self.dialect
        session = dialect.checkout(write=write)
        session.repeated = repeated
        # Whatever is not known to leave the connection usable (an interrupt in the middle of an
        # answer, say) costs the connection: the next user must not read our answer.
        broken = True
        try:
            result = unit(session, work)
            broken = False
            return result
        except (MQTasksError, DuplicateKey):
            session.rollback()
            broken = False
            raise
        except dialect.errors as error:
            if session.interrupted:
                raise StorageUnavailable(f"{self._name}: a call was interrupted") from error
            if dialect.classify(error).kind in {Kind.CONFLICT, Kind.FATAL}:
                session.rollback()
                broken = False
            raise
        finally:
            dialect.give_back(session, broken=broken)


def _plain(session: Session, work: Callable[[Session], T]) -> T:
    return work(session)


def _transaction(session: Session, work: Callable[[Session], T]) -> T:
    session.begin()
    result = work(session)
    session.commit()
    return result
