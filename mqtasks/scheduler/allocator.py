"""CREATED tasks are given to runners: the only way a task starts.

One pass reads a page of lanes, skips those that nobody has room for, reads about as many rows of
the others as there is room, decides (`placement`), writes in one transaction that proves its
leadership, and then carries the written rows to the runners in hints.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from mqtasks.errors import NotLeader
from mqtasks.model import LaneSignature, Leadership
from mqtasks.scheduler.cadence import Cadence
from mqtasks.scheduler.capacity import OLDEST, Capacity
from mqtasks.scheduler.fleet import Fleet
from mqtasks.scheduler.handout import Handout
from mqtasks.scheduler.lane_scan import Candidate, LaneReader, LaneScan
from mqtasks.scheduler.limits import rates_of
from mqtasks.scheduler.placement import Placement, place
from mqtasks.scheduler.rebalance import Rebalancer
from mqtasks.scheduler.signatures import Signatures
from mqtasks.scheduler.tenants import TenantTurns
from mqtasks.scheduler.unplaced import Unplaced
from mqtasks.service import TaskService

_IMBALANCE_POLL: Final = 0.2
_REFUSED_PAUSE: Final = 0.05
"""Seconds after a pass of which storage refused everything: let what has moved settle."""
_VIEW_AGE: Final = 1.0
"""Seconds after which what runners own is counted again, even if the last count suffices."""
_TOKEN_PAUSE: Final = 0.01
"""Shortest wait for the token of a rate: what comes within it is taken together."""
_BUCKETS_REMEMBERED: Final = 100_000
_PASSED_BY: Final = 4
"""Lanes of tasks that may not wait at runners, and find no slot, that a pass looks into."""
_SHORT_GAP: Final = 0.002
_LONG_GAP: Final = 0.02
_TENANT_GAP: Final = 0.004
"""The same where tenants have tasks: one whose turn it is starts before what waits at runners."""

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
        self._tenants = TenantTurns()
        self._token_in: float | None = None
        self._buckets: dict[str, int] = {}
        self._turn = 0
        self._fleet = Fleet(())
        self._someone_waits = True
        self._unfinished = False
        self._view_suffices = False
        self._round: dict[int, LaneSignature] = {}
        self._blocked: dict[int, LaneSignature] = {}
        self.capacity: Final = Capacity(service.storage, self._signatures, service.clock)
        self._handout = Handout(service, self.capacity.given)
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
        self.gap = 0.0
        if not lanes and not self._someone_waits:
            self._end_round()
            return self._cadence.delay(worked=False)
        fleet, candidates, quick = self._look(lanes)
        self._view_suffices = False  # also if what follows fails half-way
        try:
            placement, given = self._allocate(candidates, fleet, leadership)
        except NotLeader:
            self._on_doubt(leadership)
            return self._stand_by()
        self.allocated += given
        self._note_tokens(fleet)
        self._someone_waits = fleet.someone_waits()
        most = _TENANT_GAP if any(placement.tenants) else _LONG_GAP
        self.gap = self._gap(fleet, self._clock.monotonic() - began, most)
        refused = given < placement.count
        if refused:
            self.capacity.expire()  # a runner has gone, perhaps
        if quick and (refused or placement.unplaced or self._reader.cut):
            self._unfinished |= not self._scan.complete
            return 0.0
        self._unfinished |= (
            placement.barrier is not None
            or placement.count >= self._batch
            or len(candidates) > self._reader.most_reads
        )
        again = fleet.total_room() and (self._unfinished or not self._scan.complete)
        if self._scan.complete or not again:
            self._end_round()
        self._view_suffices = not (again or refused or self._someone_waits)
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

    def _look(self, lanes: Sequence[int]) -> tuple[Fleet, list[Candidate], bool]:
        """Return the fleet, the lanes that have room, and whether the last view sufficed for that.

        It does while slots are free by it for every lane: then nothing could start sooner for
        knowing more. That saves an idle system several round trips per task.
        """
        signatures = self._signatures.of(lanes)
        self._turn += 1
        if self._view_suffices:
            self.capacity.refresh_pauses()
            fleet = self.capacity.fleet(self._turn, slots_only=True)
            self._see_buckets(fleet, signatures)
            candidates, blocked = _divide(signatures, fleet)
            known_at = self._clock.monotonic() - self.capacity.rows_at < OLDEST
            if not blocked or (known_at and all(map(fleet.fits_nobody, blocked.values()))):
                self._round.update(blocked)
                self._fleet = fleet
                return fleet, candidates, True
        self.capacity.refresh()
        fleet = self._fleet = self.capacity.fleet(self._turn)
        self._see_buckets(fleet, signatures)
        candidates, blocked = _divide(signatures, fleet)
        self._round.update(blocked)
        if not all(signature.limited for _, signature, _ in candidates):
            candidates += self._passed_by(blocked, fleet)
        return fleet, candidates, False

    def _passed_by(self, blocked: Mapping[int, LaneSignature], fleet: Fleet) -> list[Candidate]:
        """Return some lanes that only wait for a free slot: what may wait at runners passes them.

        The most urgent ones by priority, and others in turn: each is a read more.
        """
        lanes = [item for item in blocked.items() if fleet.only_busy(item[1])]
        if len(lanes) > _PASSED_BY:
            lanes.sort(key=lambda item: -item[1].priority)
            urgent, others = lanes[: _PASSED_BY // 2], lanes[_PASSED_BY // 2 :]
            start = self._turn % len(others)
            lanes = urgent + (others[start:] + others[:start])[: _PASSED_BY // 2]
        return [(lane, signature, 1) for lane, signature in lanes]

    def _allocate(
        self, candidates: list[Candidate], fleet: Fleet, leadership: Leadership
    ) -> tuple[Placement, int]:
        now_ms = self._service.database_clock.now_ms()
        room = min(fleet.total_room(), self._batch)
        demands = self._reader.read(candidates, room, now_ms, self._ageing_ms)
        placement = place(
            fleet,
            demands,
            now_ms,
            ageing_ms=self._ageing_ms,
            most=self._batch,
            turn_of=self._tenants.of,
        )
        self._tenants.served(placement.tenants)
        given = self._handout.give(fleet, placement, demands, leadership)
        self._reader.remember(demands, given, placement.barrier)
        for demand in demands:
            if demand.lane in placement.unplaced:
                self._round[demand.lane] = demand.signature
        return placement, len(given)

    def _see_buckets(self, fleet: Fleet, signatures: Mapping[int, LaneSignature]) -> None:
        """Tell the fleet the token buckets of rated lanes; read those that may have a token.

        A bucket is only ever put off further, so one that was seen empty is so until its time.
        """
        rated = {rule for item in signatures.values() for rule in rates_of(item)}
        if not rated:
            return
        now_us = self._service.database_clock.now_ms() * 1000
        known = self._buckets
        wanted = {
            bucket
            for bucket, rate in rated
            if bucket not in known or rate.tokens(known[bucket], now_us) > 0
        }
        if wanted:
            if len(known) > _BUCKETS_REMEMBERED:
                known.clear()
            wanted |= {bucket for bucket, _ in rated if bucket not in known}
            for bucket in wanted:
                known.pop(bucket, None)
            known.update(self._service.storage.rate_buckets(sorted(wanted)))
        fleet.openings.see_buckets(known, now_us)

    def _note_tokens(self, fleet: Fleet) -> None:
        """Remember when the first token comes that a lane of this round waits for."""
        wait_us = fleet.openings.token_in_us
        if wait_us is not None:
            wait = max(_TOKEN_PAUSE, wait_us / 1_000_000)
            self._token_in = wait if self._token_in is None else min(wait, self._token_in)

    def _settle(self, fleet: Fleet, *, worked: bool) -> float:
        """Nothing more can be placed: even out what waits, and say when to look again."""
        if worked and self._clock.monotonic() - self.capacity.counted_at > _VIEW_AGE:
            self.capacity.refresh()  # for the next pass, when nobody waits for it
        waiting = bool(self._blocked) or self._someone_waits
        delay = self._cadence.delay(worked=worked, waiting=waiting)
        if self._token_in is not None:
            delay = min(delay, self._token_in)
            self._token_in = None
        if not self._someone_waits:
            return delay
        loads = self.capacity.loads
        signatures = self._signatures.of(lane for owned in loads.values() for lane in owned)
        requests = self._rebalancer.plan(fleet, loads, signatures, self._clock.monotonic())
        for runner_id, count in requests.items():
            _log.debug("asking runner %s to give back %d unstarted tasks", runner_id, count)
            self._service.hint_revoked(runner_id, give_back=count)
        return min(delay, _IMBALANCE_POLL) if self._rebalancer.watching else delay

    def _gap(self, fleet: Fleet, took: float, most: float) -> float:
        """Return how long, ``most`` at most, hints may be merged without leaving a slot empty.

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
        return max(min(took, _SHORT_GAP), min(shortest / 2, most))

    def _end_round(self) -> None:
        self._scan.end_round()
        self._unfinished = False
        self._blocked, self._round = self._round, {}

    def _stand_by(self) -> float:
        self._end_round()
        self._blocked = {}
        self._someone_waits = True  # at others' runners; look once when leading (again)
        self._view_suffices = False
        self.capacity.expire()
        self.gap = 0.0
        return self._cadence.delay(worked=False)


def _divide(
    signatures: Mapping[int, LaneSignature], fleet: Fleet
) -> tuple[list[Candidate], dict[int, LaneSignature]]:
    """Return the lanes that somebody has room for, and the others."""
    candidates, blocked = [], {}
    for lane, signature in signatures.items():
        room = fleet.room(signature)
        if room:
            candidates.append((lane, signature, room))
        else:
            blocked[lane] = signature
    return candidates, blocked
