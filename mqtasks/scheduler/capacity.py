"""What runners there are, what they own and what is paused, read from storage for each pass.

Free slots that runners announce are hints; capacity is counted here as a limit minus the live
rows a runner owns. Storage checks state, generation and lease again when it allocates, so the
runner rows may be some tenths of a second old.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf
from typing import Final

from mqtasks.clock import Clock
from mqtasks.model import AsyncTask, LaneSignature, RunnerRecord, RunnerState
from mqtasks.scheduler.fleet import FitIndex, Fleet, RunnerRoom
from mqtasks.scheduler.limits import Openings
from mqtasks.scheduler.paused import NOTHING, Paused
from mqtasks.scheduler.rates import RunnerPace
from mqtasks.scheduler.signatures import Signatures
from mqtasks.storage.contract import RunnerLimit, TaskStorage

_SHARE: Final = 20
"""Runner rows are read again after this many times the time it took to read them..."""
_FRESHEST: Final = 0.05
OLDEST: Final = 0.5
"""... but not within 0.05 s, and after 0.5 s at the latest."""


class Capacity:
    """Builds the `Fleet` of a pass. For one thread; times are monotonic seconds.

    Between two refreshes it counts what was allocated, so what it knows errs on the safe side:
    a runner may own less than is thought here, and only an allocation by hand makes it own more.
    """

    def __init__(self, storage: TaskStorage, signatures: Signatures, clock: Clock) -> None:
        """Know nothing before the first `refresh`."""
        self._storage = storage
        self._signatures = signatures
        self._clock = clock
        self._runners: list[RunnerRecord] = []
        self._paused = NOTHING
        self._paused_at = -inf
        self._index = FitIndex(())
        self._read_again_at = -inf
        self._paces: dict[tuple[str, int], RunnerPace] = {}
        self.loads: dict[str, dict[int, int]] = {}
        """Runner id -> lane -> live tasks that it owns."""
        self.counted_at = -inf
        """When `loads` was read."""
        self.rows_at = -inf
        """When the runner rows were read."""

    def expire(self) -> None:
        """Read the runner rows, and what is paused, at the next refresh, however young they are."""
        self._read_again_at = self.rows_at = self._paused_at = -inf

    def refresh(self) -> None:
        """Read what runners own, and the runner rows if it is time; raises StorageError."""
        if self._clock.monotonic() >= self._read_again_at:
            self._read_runners()
        self.refresh_pauses()
        self.loads = {}
        for load in self._storage.live_load():
            self.loads.setdefault(load.runner_id, {})[load.lane] = load.count
        now = self.counted_at = self._clock.monotonic()
        for runner in self._runners:
            live = sum(self.loads.get(runner.id, {}).values())
            pace = self._paces.get((runner.id, runner.generation))
            if pace is None:
                pace = RunnerPace(live, runner.parallelism, now)
                self._paces[runner.id, runner.generation] = pace
            else:
                pace.seen(live, runner.parallelism, now)

    def refresh_pauses(self) -> None:
        """Read what is paused, unless that is known well enough; raises StorageError."""
        now = self._clock.monotonic()
        if now - self._paused_at >= OLDEST:
            self._paused = Paused(self._storage.pauses())
            self._paused_at = now

    def fleet(self, turn: int, *, slots_only: bool = False) -> Fleet:
        """Return the runners with the room they have; ``slots_only``: without room to wait."""
        signatures = self._signatures.of(lane for owned in self.loads.values() for lane in owned)
        executor_live: Counter[str] = Counter()
        key_live: Counter[str] = Counter()
        for owned in self.loads.values():
            for lane, count in owned.items():
                if lane in signatures:
                    executor_live[signatures[lane].executor] += count
                    if signatures[lane].key:
                        key_live[signatures[lane].key] += count
        rooms = [self._room(runner, signatures, slots_only=slots_only) for runner in self._runners]
        return Fleet(
            rooms, Openings(executor_live, key_live, self._paused), turn=turn, index=self._index
        )

    def pace(self, runner_id: str, generation: int) -> RunnerPace:
        """Return the pace of a runner of the last refresh."""
        return self._paces[runner_id, generation]

    def given(self, runner_id: str, generation: int, tasks: Sequence[AsyncTask]) -> None:
        """Count tasks that were allocated to a runner of the last refresh."""
        self._paces[runner_id, generation].allocated(len(tasks))
        owned = self.loads.setdefault(runner_id, {})
        for lane, count in Counter([task.lane for task in tasks]).items():
            owned[lane] = owned.get(lane, 0) + count

    def _room(
        self,
        runner: RunnerRecord,
        signatures: Mapping[int, LaneSignature],
        *,
        slots_only: bool,
    ) -> RunnerRoom:
        live, cpu, memory = 0, runner.cpu, runner.memory
        resources = dict(runner.resources)
        for lane, count in self.loads.get(runner.id, {}).items():
            live += count
            signature = signatures.get(lane)
            if signature is not None:
                cpu -= signature.cpu * count
                memory -= signature.memory * count
                for name, amount in signature.resources:
                    resources[name] = resources.get(name, 0.0) - amount * count
        most = 0 if runner.id in self._paused.runners else runner.parallelism
        if most and not slots_only:
            pace = self.pace(runner.id, runner.generation)
            most += pace.may_wait(runner.parallelism, runner.max_wait_tasks)
        return RunnerRoom(
            id=runner.id,
            generation=runner.generation,
            executors=runner.executors,
            labels=runner.labels,
            parallelism=runner.parallelism,
            most=most,
            live=live,
            cpu=cpu,
            memory=memory,
            resources=resources,
            offered=RunnerLimit(runner.id, runner.cpu, runner.memory, runner.resources),
        )

    def _read_runners(self) -> None:
        began = self._clock.monotonic()
        self._runners = [
            runner
            for runner in self._storage.runners()
            if runner.state is RunnerState.ACTIVE and runner.lease_remaining_ms > 0
        ]
        self._index = FitIndex((runner.executors, runner.labels) for runner in self._runners)
        known = {(runner.id, runner.generation) for runner in self._runners}
        self._paces = {key: pace for key, pace in self._paces.items() if key in known}
        now = self.rows_at = self._clock.monotonic()
        self._read_again_at = now + min(OLDEST, max(_FRESHEST, _SHARE * (now - began)))
