"""How the execution of a task ended in this process, before storage has heard of it."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from mqtasks.model import AttemptOutcome, ExecuteResult


class Failed(msgspec.Struct, frozen=True):
    """The attempt failed: runs again ``delay_ms`` from the commit, or never if that is None."""

    error: str
    traceback: str = ""
    kind: AttemptOutcome = AttemptOutcome.FAILED
    delay_ms: int | None = None


class Released(msgspec.Struct, frozen=True):
    """Nothing was decided: the task goes back and burns no attempt."""

    reason: str


class Committed(msgspec.Struct, frozen=True):
    """A success that the executor's own transaction has committed: nothing is left to write."""

    result: ExecuteResult


Outcome: TypeAlias = ExecuteResult | Failed | Released | Committed
"""An ExecuteResult is a success."""
