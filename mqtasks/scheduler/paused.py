"""What is paused, as one scheduling pass sees it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from mqtasks.model import LaneSignature, Pause, PauseKind
from mqtasks.scheduler.unplaced import Reason, Unplaced


class Paused:
    """The pauses of a moment, by what they hold back. Immutable."""

    def __init__(self, pauses: Iterable[Pause] = ()) -> None:
        """Sort ``pauses`` by kind."""
        self._by_name = {(pause.kind, pause.name): pause for pause in pauses}
        self.runners = frozenset(name for kind, name in self._by_name if kind is PauseKind.RUNNER)
        """Ids of runners that get nothing new."""
        self._holds_tasks = len(self._by_name) > len(self.runners)

    def holding(self, signature: LaneSignature) -> Pause | None:
        """Return the pause that holds back tasks of a signature; None if none does."""
        if not self._holds_tasks:
            return None
        for kind, name in (
            (PauseKind.EXECUTOR, signature.executor),
            (PauseKind.KEY, signature.key),
            (PauseKind.TENANT, signature.tenant),
        ):
            pause = self._by_name.get((kind, name))
            if pause is not None:
                return pause
        return None

    def explain(self, signature: LaneSignature) -> Unplaced | None:
        """Return what is paused, and why; None if nothing is."""
        pause = self.holding(signature)
        if pause is None:
            return None
        reason = f" ({pause.reason})" if pause.reason else ""
        return Unplaced(Reason.PAUSED, f"{pause.kind.value} {pause.name!r} is paused{reason}")


NOTHING = Paused()
