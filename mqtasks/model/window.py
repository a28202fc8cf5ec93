"""The period in which calls of a task that are the same are one task."""

from __future__ import annotations

from typing import NamedTuple


class UniqueWindow(NamedTuple):
    """How long, and by what, calls are the same. A definition's default, or a call's own."""

    seconds: float
    """Counted from the creation of the first one; at least 0.001."""
    key: str | None = None
    """What makes calls the same; None: their arguments."""

    @property
    def milliseconds(self) -> int:
        """The period as storage takes it."""
        return round(self.seconds * 1000)
