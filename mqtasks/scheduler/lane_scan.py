"""Which lanes a pass visits, and how many rows of each it reads (P7).

Lanes are visited page by page, in a circle, so that any number of them costs a pass no more than
one page. Where one page does not hold all, a round begins with some lanes of each tenant besides:
while one tenant's lanes fill page after page, and each page uses up the room, others would be met
too late for their turns. Of a lane nobody has room for, no row is read at all; of the others only
about as many as may be placed.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final, TypeAlias

from mqtasks.model import LaneSignature, last_lane_beside
from mqtasks.scheduler.placement import Demand, rank
from mqtasks.scheduler.tenant_probe import TenantProbe
from mqtasks.storage.contract import QueueOperations

PAGE: Final = 1_000
"""Lanes visited in one pass."""
MOST_READS: Final = 64
"""Lanes whose rows are read in one pass: each is a statement."""
_FEWEST_ROWS: Final = 8
_MOST_BYTES: Final = 16 * 1024 * 1024
"""Payload that one pass should read; how many rows that is follows from what a lane had so far."""
_UNKNOWN_ROW_BYTES: Final = 256 * 1024
_ROW_OVERHEAD: Final = 1024
_LANES_REMEMBERED: Final = 10_000

Candidate: TypeAlias = tuple[int, LaneSignature, int]
"""Lane, signature, and how many of its tasks would fit."""


class LaneScan:
    """Goes round all lanes with CREATED rows, a page at a time."""

    def __init__(self, storage: QueueOperations, page: int = PAGE) -> None:
        """Start at the lowest lane."""
        self._storage = storage
        self._page = page
        self._probe = TenantProbe(storage)
        self._cursor = 0
        self._started_at = 0
        self._wrapped = False
        self.complete = True
        """Whether the page read last ended a round: every lane has been visited since its begin."""

    def next_page(self) -> list[int]:
        """Return the next lanes; the first page after a complete round begins another."""
        begins = self.complete
        if begins:
            self._started_at, self._wrapped = self._cursor, False
        page = self._storage.lanes(self._cursor, self._page)
        if len(page) < self._page:
            self.complete = self._wrapped or not self._started_at
            self._wrapped, self._cursor = True, 0
        else:
            self._cursor = page[-1]
            self.complete = self._wrapped and self._cursor >= self._started_at
        if begins and not self.complete:
            page += self._others(page)
        return page

    def _others(self, page: Sequence[int]) -> list[int]:
        """Return lanes of tenants that a page has none of."""
        tenants = {last_lane_beside(lane) for lane in page}
        others = [lane for lane in self._probe.look() if last_lane_beside(lane) not in tenants]
        return list(dict.fromkeys(others))

    def end_round(self) -> None:
        """Begin another round at the next page, where the last one ended."""
        self.complete = True


class LaneReader:
    """Reads the first rows of lanes that have room."""

    def __init__(self, storage: QueueOperations, most_reads: int = MOST_READS) -> None:
        """Read up to ``most_reads`` lanes at a time."""
        self._storage = storage
        self.most_reads = most_reads
        self._position = 0
        self._turn = 0
        self._appetite: dict[int, int] = {}
        self._heads: dict[int, tuple[int, int]] = {}
        self._row_bytes: dict[int, int] = {}
        self.cut = False
        """Whether a lane read last may hold more tasks than were read."""

    def read(
        self, candidates: Sequence[Candidate], room: int, now_ms: int, ageing_ms: int
    ) -> list[Demand]:
        """Return the demands of these lanes, for ``room`` tasks altogether."""
        chosen = self._choose(candidates, now_ms, ageing_ms)
        # Twice the room, shared: lanes rarely need equally much, and a short one costs a pass.
        share = max(_FEWEST_ROWS, -(-2 * room // max(1, len(chosen))))
        demands = []
        self.cut = False
        for lane, signature, fits in chosen:
            row_bytes = self._row_bytes.get(lane, _UNKNOWN_ROW_BYTES)
            affordable = max(1, _MOST_BYTES // len(chosen) // row_bytes)
            limit = min(share * self._appetite.get(lane, 1), affordable)
            enough = min(fits, room)
            tasks = self._storage.lane_tasks(lane, min(limit, enough))
            cut = len(tasks) >= min(limit, enough)
            self.cut = self.cut or cut
            if tasks:
                demands.append(Demand(lane, signature, tasks, more=cut and limit < enough))
        return demands

    def remember(
        self, demands: Sequence[Demand], placed: AbstractSet[int], barrier: int | None
    ) -> None:
        """Learn from a pass: what each lane begins with now, and which one was read too little."""
        appetite = self._appetite.get(barrier, 1) if barrier is not None else 1
        self._appetite = {} if barrier is None else {barrier: appetite * 4}
        if len(self._heads) > _LANES_REMEMBERED:
            self._heads.clear()
        if len(self._row_bytes) > _LANES_REMEMBERED:
            self._row_bytes.clear()
        for demand in demands:
            size = sum([len(task.metadata.context) + len(task.progress) for task in demand.tasks])
            self._row_bytes[demand.lane] = size // len(demand.tasks) + _ROW_OVERHEAD
            head = next((task for task in demand.tasks if task.id not in placed), None)
            if head is None:
                self._heads.pop(demand.lane, None)
            else:
                self._heads[demand.lane] = (head.priority, head.run_at)

    def _choose(
        self, candidates: Sequence[Candidate], now_ms: int, ageing_ms: int
    ) -> Sequence[Candidate]:
        """Of too many lanes each tenant gets its share; see `_share`."""
        if len(candidates) <= self.most_reads:
            return candidates
        groups: dict[str, list[Candidate]] = {}
        for candidate in candidates:
            groups.setdefault(candidate[1].tenant, []).append(candidate)
        tenants = sorted(groups)
        start = self._turn % len(tenants)
        self._turn += 1
        chosen: list[Candidate] = []
        # Those with few lanes first: what they leave goes to the others.
        turn = [*tenants[start:], *tenants[:start]]
        turn.sort(key=lambda tenant: len(groups[tenant]))
        for waiting, tenant in zip(range(len(turn), 0, -1), turn, strict=True):
            most = (self.most_reads - len(chosen)) // waiting
            chosen += self._share(groups[tenant], most, now_ms, ageing_ms)
        if chosen:
            return chosen
        return [groups[tenant][0] for tenant in turn[: self.most_reads]]

    def _share(
        self, candidates: Sequence[Candidate], most: int, now_ms: int, ageing_ms: int
    ) -> Sequence[Candidate]:
        """Of too many lanes of a tenant take the most urgent known ones, and others in turn."""
        if len(candidates) <= most:
            return candidates
        known = [c for c in candidates if c[0] in self._heads]
        known.sort(key=lambda c: rank(*self._heads[c[0]], c[0], now_ms, ageing_ms))
        urgent = known[: most // 2]
        taken = {candidate[0] for candidate in urgent}
        others = [c for c in candidates if c[0] not in taken]
        count = most - len(urgent)
        start = self._position % len(others)
        self._position += count
        turn = [*others[start:], *others[:start]]
        return [*urgent, *turn[:count]]
