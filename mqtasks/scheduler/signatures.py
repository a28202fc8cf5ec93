"""What the lanes mean: their placement signatures, each read from storage once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mqtasks.model import LaneSignature
from mqtasks.storage.contract import QueueOperations

_MOST: Final = 200_000
"""Signatures remembered, a few hundred bytes each; above this the memory starts afresh."""


class Signatures:
    """Lane -> signature. A lane is the hash of its signature, so an entry can never be stale."""

    def __init__(self, storage: QueueOperations) -> None:
        """Read from ``storage`` what is not known."""
        self._storage = storage
        self._known: dict[int, LaneSignature] = {}

    def of(self, lanes: Iterable[int]) -> dict[int, LaneSignature]:
        """Return the signatures of these lanes; those whose rows are all gone are left out.

        In the order of ``lanes``.
        """
        wanted = dict.fromkeys(lanes)
        missing = wanted.keys() - self._known.keys()
        if missing:
            if len(self._known) + len(missing) > _MOST:
                self._known.clear()
                missing = set(wanted)
            for sample in self._storage.lane_signatures(sorted(missing)):
                self._known[sample.lane] = sample.signature
        known = self._known
        return {lane: known[lane] for lane in wanted if lane in known}
