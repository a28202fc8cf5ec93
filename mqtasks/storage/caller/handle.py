"""A connection of the caller's: the driver's own, and what a library around it adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mqtasks.errors import TransactionAborted


class Handle:
    """A bare connection of a driver (DB-API 2.0). Libraries derive from it."""

    opens = False
    """Whether `begin` opens the transaction itself, so that nobody else has to."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def begin(self) -> None:
        """Open a transaction, if the library does so."""

    def flush(self) -> None:
        """Send what the library has kept back."""

    def commit(self) -> None:
        """Commit; raises whatever the library raises."""
        self.driver.commit()

    def rollback(self) -> None:
        """Roll back; raises whatever the library raises."""
        self.driver.rollback()

    def after_commit(self, call: Callable[[], object]) -> bool:  # noqa: ARG002 - no hook here
        """Run ``call`` after the next commit; False if the library has no hook for it."""
        return False

    def doom(self) -> None:
        """See to it that the library does not commit what is left after an error."""


def aborted(error: BaseException) -> TransactionAborted:
    """Return what is raised for an error on a caller's connection."""
    told = str(error) or type(error).__name__
    return TransactionAborted(
        f"on your connection: {told}. Roll the whole transaction back; a deadlock or a lost"
        " connection has done so already. Then run all of it again"
    )
