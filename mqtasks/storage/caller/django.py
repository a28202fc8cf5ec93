"""Django's connections: transactions by `atomic`, and its own hook after commit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from mqtasks.errors import InvalidArgument
from mqtasks.storage.caller.handle import Handle


class DjangoHandle(Handle):
    """A ``DatabaseWrapper`` of any backend over a driver that the storage knows."""

    opens = True

    def __init__(self, wrapper: Any) -> None:
        wrapper.ensure_connection()
        super().__init__(wrapper.connection)
        self._wrapper = wrapper
        self._atomic: Any = None

    def begin(self) -> None:
        """Enter an outermost atomic block: only its end commits. Refuses to be inside another."""
        atomic = sys.modules["django.db.transaction"].atomic(self._wrapper.alias, durable=True)
        try:
            atomic.__enter__()
        except RuntimeError as error:
            raise InvalidArgument(
                "connection",
                f"django connection {self._wrapper.alias!r}",
                "is inside transaction.atomic() already, whose end alone would commit: leave that"
                " out, this block is one itself",
            ) from error
        self._atomic = atomic

    def commit(self) -> None:
        """Leave the block that `begin` entered; without one, commit."""
        atomic, self._atomic = self._atomic, None
        if atomic is None:
            self._wrapper.commit()
        else:
            atomic.__exit__(None, None, None)

    def rollback(self) -> None:
        """Leave the block that `begin` entered, rolling back; without one, roll back."""
        atomic, self._atomic = self._atomic, None
        if atomic is None:
            self._wrapper.rollback()
        else:
            self._wrapper.needs_rollback = True
            atomic.__exit__(None, None, None)

    def after_commit(self, call: Callable[[], object]) -> bool:
        """Run ``call`` after the commit, unless a savepoint around this call is rolled back."""
        if not self._wrapper.in_atomic_block:
            return False
        self._wrapper.on_commit(call)
        return True

    def doom(self) -> None:
        """Let the atomic block around this call roll back, even if the error is caught in it."""
        if self._wrapper.in_atomic_block:
            self._wrapper.needs_rollback = True
