"""Tasks that wait at a busy runner while another one stands idle are asked back (P6).

Only a request: a hint names how many unstarted tasks a runner should release. It does so itself,
conditionally, and the next pass gives them to the idle one. So nothing is taken from a live
runner, and a lost hint is repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mqtasks.model import LaneSignature
from mqtasks.scheduler.fleet import Fleet

_PATIENCE: Final = 0.2
"""Seconds of imbalance before anything is asked back: what waits may start by itself meanwhile."""
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0


class _Imbalance:
    """A runner with waiting tasks that could start elsewhere, since when, and what was done."""

    __slots__ = ("ask_at", "pause")

    def __init__(self, now: float) -> None:
        self.ask_at = now + _PATIENCE
        self.pause = _FIRST_PAUSE


class Rebalancer:
    """Remembers imbalances from pass to pass; decides, and sends nothing. For one thread."""

    def __init__(self) -> None:
        """Start without any."""
        self._open: dict[str, _Imbalance] = {}

    @property
    def watching(self) -> bool:
        """Whether an imbalance is open, so that `plan` should be asked again in 0.2 s."""
        return bool(self._open)

    def plan(
        self,
        fleet: Fleet,
        loads: Mapping[str, Mapping[int, int]],
        signatures: Mapping[int, LaneSignature],
        now: float,
    ) -> dict[str, int]:
        """Return runner id -> how many unstarted tasks to ask back from it; mostly empty.

        ``fleet`` is as a pass left it, with no task left that could use its free slots; ``loads``
        tells what each runner owns, by lane. ``now`` is monotonic seconds.
        """
        requests: dict[str, int] = {}
        seen: set[str] = set()
        idle = _IdleSlots(fleet, signatures)
        for i, room in enumerate(fleet.rooms):
            waiting = fleet.live[i] - room.parallelism
            if waiting <= 0:
                continue
            count = idle.promise(waiting, loads.get(room.id, {}))
            if not count:
                continue
            seen.add(room.id)
            imbalance = self._open.setdefault(room.id, _Imbalance(now))
            if now >= imbalance.ask_at:
                requests[room.id] = count
                # Runners that cannot give anything back must not be asked each second for ever.
                imbalance.ask_at = now + imbalance.pause
                imbalance.pause = min(2 * imbalance.pause, _LONGEST_PAUSE)
        self._open = {key: value for key, value in self._open.items() if key in seen}
        return requests


class _IdleSlots:
    """Free slots, promised to one busy runner after another."""

    def __init__(self, fleet: Fleet, signatures: Mapping[int, LaneSignature]) -> None:
        self._fleet = fleet
        self._signatures = signatures
        self._by_lane: dict[int, dict[int, int]] = {}
        self._promised: dict[int, int] = {}

    def promise(self, waiting: int, owned: Mapping[int, int]) -> int:
        """Return how many of a runner's waiting tasks certainly could start elsewhere."""
        fitting, slots = 0, dict[int, int]()
        for lane, count in owned.items():
            free = self._free(lane)
            if free:
                fitting += count
                slots.update(free)
        # Which tasks wait is not known here: those that fit nowhere else might be the ones.
        wanted = max(0, waiting - (sum(owned.values()) - fitting))
        moved = 0
        for runner, free_here in slots.items():
            take = min(wanted - moved, free_here - self._promised.get(runner, 0))
            if take > 0:
                self._promised[runner] = self._promised.get(runner, 0) + take
                moved += take
        return moved

    def _free(self, lane: int) -> dict[int, int]:
        free = self._by_lane.get(lane)
        if free is None:
            signature = self._signatures.get(lane)
            # Tasks under a limit never wait at a runner: those that are there have started.
            if signature is None or signature.limited:
                free = {}
            else:
                free = self._fleet.free_slots(signature)
            self._by_lane[lane] = free
        return free
