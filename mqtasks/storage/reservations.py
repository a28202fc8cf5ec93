"""Whether what tasks reserve fits into what runners offer: one decision for all storages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mqtasks.model import LaneSignature
from mqtasks.storage.contract import Limit, RunnerLimit

SLACK: Final = 1e-9
"""Amounts are added as floats; 0.1 + 0.2 must still fit into 0.3."""


class _Left:
    """What one runner has left. What it does not offer at all, it has none of."""

    __slots__ = ("cpu", "memory", "resources")

    def __init__(self, offered: RunnerLimit) -> None:
        self.cpu = offered.cpu
        self.memory = offered.memory
        self.resources = dict(offered.resources)


class Reservations:
    """Counts what live tasks reserve of the runners that a `RunnerLimit` names. Pure."""

    def __init__(self, limits: Iterable[Limit]) -> None:
        """Start with nothing reserved; limits of other kinds are ignored."""
        self._left = {
            limit.runner_id: _Left(limit) for limit in limits if isinstance(limit, RunnerLimit)
        }

    @property
    def runners(self) -> Iterable[str]:
        """The runners whose live tasks must be told to `take`."""
        return self._left.keys()

    def fits(self, runner_id: str, signature: LaneSignature) -> bool:
        """Return whether one more task of a signature fits; always, where no limit is given."""
        left = self._left.get(runner_id)
        if left is None or not signature.reserves:
            return True
        return (
            signature.cpu <= left.cpu + SLACK
            and signature.memory <= left.memory
            and all(
                amount <= left.resources.get(name, 0.0) + SLACK
                for name, amount in signature.resources
            )
        )

    def take(self, runner_id: str, signature: LaneSignature, count: int = 1) -> None:
        """Count live tasks of a signature, whether they fit or not."""
        left = self._left.get(runner_id)
        if left is None:
            return
        left.cpu -= signature.cpu * count
        left.memory -= signature.memory * count
        for name, amount in signature.resources:
            left.resources[name] = left.resources.get(name, 0.0) - amount * count
