"""CREATED tasks are given to runners: the only way a task starts.

One pass reads a page of lanes, skips those that nobody has room for, reads about as many rows of
the others as there is room, decides (`placement`), writes in one transaction that proves its
leadership, and then carries the written rows to the runners in hints.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from mqtasks.errors import NotLeader
from mqtasks.model import LaneSignature, Leadership
from mqtasks.scheduler.cadence import Cadence
from mqtasks.scheduler.capacity import Capacity
from mqtasks.scheduler.fleet import Fleet
from mqtasks.scheduler.handout import Handout
from mqtasks.scheduler.lane_scan import Candidate, LaneReader, LaneScan
from mqtasks.scheduler.placement import Placement, place
from mqtasks.scheduler.rebalance import Rebalancer
from mqtasks.scheduler.signatures import Signatures
from mqtasks.scheduler.unplaced import Unplaced
from mqtasks.service import TaskService

_IMBALANCE_POLL: Final = 0.2
_REFUSED_PAUSE: Final = 0.05
"""Seconds after a pass of which storage refused everything: let what has moved settle."""
_SHORT_GAP: Final = 0.002
_LONG_GAP: Final = 0.02

_log = logging.getLogger("mqtasks.scheduler")


class Allocator:
    """Allocates in passes. One thread calls `run_once`; the attributes may be read by others."""

    def __init__(
        self,
        service: TaskService,
        leadership: Callable[[], Leadership | None],
        on_doubt: Callable[[Leadership], None],
        cadence: Cadence,
        *,
        batch: int = 2_000,
        ageing: float = 10.0,
    ) -> None:
        """Call ``on_doubt`` when storage says that the leadership is over."""
        self._service = service
        self._clock = service.clock
        self._leadership = leadership
        self._on_doubt = on_doubt
        self._cadence = cadence
        self._batch = batch
        self._ageing_ms = max(1, round(ageing * 1000))
        self._signatures = Signatures(service.storage)
        self._scan = LaneScan(service.storage)
        self._reader = LaneReader(service.storage)
        self._rebalancer = Rebalancer()
        self._turn = 0
        self._fleet = Fleet(())
        self._someone_waits = True
        self._unfinished = False
        self._round: dict[int, LaneSignature] = {}
        self._blocked: dict[int, LaneSignature] = {}
        self.capacity: Final = Capacity(service.storage, self._signatures, service.clock)
        self._handout = Handout(service, self.capacity.allocated)
        self.allocated = 0
        """Tasks allocated so far."""
        self.gap = 0.0
        """Seconds for which the next pass may be put off though a hint came, to merge hints."""

    def run_once(self) -> float:
        """Make one pass; return seconds until the next, 0 = at once because more can be done.

        Does nothing on a standby. Raises StorageError.
        """
        leadership = self._leadership()
        if leadership is None:
            return self._stand_by()
        began = self._clock.monotonic()
        lanes = self._scan.next_page()
        if not lanes and not self._someone_waits:
            self._end_round()
            self.gap = 0.0
            return self._cadence.delay(worked=False)
        self.capacity.refresh()
        self._turn += 1
        fleet = self._fleet = self.capacity.fleet(self._turn)
        candidates = self._candidates(lanes, fleet)
        try:
            placement, given = self._allocate(candidates, fleet, leadership)
        except NotLeader:
            self._on_doubt(leadership)
            return self._stand_by()
        self.allocated += given
        self._someone_waits = fleet.someone_waits()
        self.gap = self._gap(fleet, self._clock.monotonic() - began)
        if given < placement.count:
            self.capacity.expire()  # a runner has gone, perhaps
        self._unfinished |= (
            placement.barrier is not None
            or placement.count >= self._batch
            or len(candidates) > self._reader.most_reads
        )
        again = fleet.total_room() and (self._unfinished or not self._scan.complete)
        if self._scan.complete or not again:
            self._end_round()
        if again:
            return 0.0 if given or not placement.count else _REFUSED_PAUSE
        return self._settle(fleet, worked=bool(given))

    def explain(self, most: int = 100) -> list[tuple[int, LaneSignature, Unplaced]]:
        """Return up to ``most`` lanes whose tasks waited in the last round, and why now."""
        fleet = self._fleet
        blocked = list(self._blocked.items())[:most]
        return [
            (lane, signature, why)
            for lane, signature in blocked
            if (why := fleet.explain(signature)) is not None
        ]

    def _candidates(self, lanes: Sequence[int], fleet: Fleet) -> list[Candidate]:
        candidates = []
        for lane, signature in self._signatures.of(lanes).items():
            room = fleet.room(signature)
            if room:
                candidates.append((lane, signature, room))
            else:
                self._round[lane] = signature
        return candidates

    def _allocate(
        self, candidates: list[Candidate], fleet: Fleet, leadership: Leadership
    ) -> tuple[Placement, int]:
        if not candidates:
            return Placement({}, 0, {}), 0
        now_ms = self._service.database_clock.now_ms()
        room = min(fleet.total_room(), self._batch)
        demands = self._reader.read(candidates, room, now_ms, self._ageing_ms)
        placement = place(fleet, demands, now_ms, ageing_ms=self._ageing_ms, most=self._batch)
        given = self._handout.give(fleet, placement, demands, leadership)
        self._reader.remember(demands, given, placement.barrier)
        for demand in demands:
            if demand.lane in placement.unplaced:
                self._round[demand.lane] = demand.signature
        return placement, len(given)

    def _settle(self, fleet: Fleet, *, worked: bool) -> float:
        """Nothing more can be placed: even out what waits, and say when to look again."""
        waiting = bool(self._blocked) or self._someone_waits
        delay = self._cadence.delay(worked=worked, waiting=waiting)
        if not self._someone_waits:
            return delay
        loads = self.capacity.loads
        signatures = self._signatures.of(load.lane for owned in loads.values() for load in owned)
        requests = self._rebalancer.plan(fleet, loads, signatures, self._clock.monotonic())
        for runner_id, count in requests.items():
            _log.debug("asking runner %s to give back %d unstarted tasks", runner_id, count)
            self._service.hint_revoked(runner_id, give_back=count)
        return min(delay, _IMBALANCE_POLL) if self._rebalancer.watching else delay

    def _gap(self, fleet: Fleet, took: float) -> float:
        """Return how long hints may be merged without letting any slot stay empty for it.

        While every slot is taken, nothing placed now could start before the shortest waiting list
        has run out; otherwise as long as the pass took, so that it takes half of the time at most.
        """
        shortest = min(
            (
                self.capacity.pace(room.id, room.generation).lasts(live - room.parallelism)
                for room, live in zip(fleet.rooms, fleet.live, strict=True)
            ),
            default=0.0,
        )
        return max(min(took, _SHORT_GAP), min(shortest / 2, _LONG_GAP))

    def _end_round(self) -> None:
        self._scan.end_round()
        self._unfinished = False
        self._blocked, self._round = self._round, {}

    def _stand_by(self) -> float:
        self._end_round()
        self._blocked = {}
        self._someone_waits = True  # at others' runners; look once when leading (again)
        self.capacity.expire()
        self.gap = 0.0
        return self._cadence.delay(worked=False)
