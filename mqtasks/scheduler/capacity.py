"""What runners there are and what they own, read from storage for each scheduling pass.

Free slots that runners announce are hints; capacity is counted here as a limit minus the live
rows a runner owns. Storage checks state, generation and lease again when it allocates, so the
runner rows may be some tenths of a second old.
"""

from __future__ import annotations

from typing import Final

from mqtasks.clock import Clock
from mqtasks.model import RunnerRecord, RunnerState
from mqtasks.scheduler.fleet import FitIndex, Fleet, RunnerRoom
from mqtasks.scheduler.rates import RunnerPace
from mqtasks.scheduler.signatures import Signatures
from mqtasks.storage.contract import LaneLoad, TaskStorage

_SHARE: Final = 20
"""Runner rows are read again after this many times the time it took to read them..."""
_FRESHEST: Final = 0.05
_OLDEST: Final = 0.5
"""... but not within 0.05 s, and after 0.5 s at the latest."""


class Capacity:
    """Builds the `Fleet` of a pass. For one thread."""

    def __init__(self, storage: TaskStorage, signatures: Signatures, clock: Clock) -> None:
        """Know nothing before the first `refresh`."""
        self._storage = storage
        self._signatures = signatures
        self._clock = clock
        self._runners: list[RunnerRecord] = []
        self._index = FitIndex(())
        self._read_again_at = float("-inf")
        self._paces: dict[tuple[str, int], RunnerPace] = {}
        self.loads: dict[str, list[LaneLoad]] = {}
        """Runner id -> what it owned at the last refresh, by lane."""
        self.executor_live: dict[str, int] = {}
        """Executor (stored form) -> live tasks over the whole fleet at the last refresh."""

    def expire(self) -> None:
        """Read the runner rows at the next refresh, however young they are."""
        self._read_again_at = float("-inf")

    def refresh(self) -> None:
        """Read what runners own, and the runner rows if it is time; raises StorageError."""
        now = self._clock.monotonic()
        if now >= self._read_again_at:
            self._read_runners(now)
        self.loads = {}
        for load in self._storage.live_load():
            self.loads.setdefault(load.runner_id, []).append(load)
        now = self._clock.monotonic()
        for runner in self._runners:
            live = sum(load.count for load in self.loads.get(runner.id, ()))
            pace = self._paces.get((runner.id, runner.generation))
            if pace is None:
                pace = RunnerPace(live, runner.parallelism, now)
                self._paces[runner.id, runner.generation] = pace
            else:
                pace.seen(live, runner.parallelism, now)

    def fleet(self, turn: int) -> Fleet:
        """Return the runners with the room they have, as of the last refresh."""
        signatures = self._signatures.of(
            load.lane for loads in self.loads.values() for load in loads
        )
        self.executor_live = {}
        for loads in self.loads.values():
            for load in loads:
                signature = signatures.get(load.lane)
                if signature is not None:
                    count = self.executor_live.get(signature.executor, 0) + load.count
                    self.executor_live[signature.executor] = count
        rooms = []
        for runner in self._runners:
            live, cpu, memory = 0, runner.cpu, runner.memory
            for load in self.loads.get(runner.id, ()):
                live += load.count
                signature = signatures.get(load.lane)
                if signature is not None:
                    cpu -= signature.cpu * load.count
                    memory -= signature.memory * load.count
            waiting = self.pace(runner.id, runner.generation).may_wait(
                runner.parallelism, runner.max_wait_tasks
            )
            rooms.append(
                RunnerRoom(
                    id=runner.id,
                    generation=runner.generation,
                    executors=runner.executors,
                    labels=runner.labels,
                    parallelism=runner.parallelism,
                    most=runner.parallelism + waiting,
                    live=live,
                    cpu=cpu,
                    memory=memory,
                )
            )
        return Fleet(rooms, self.executor_live, turn=turn, index=self._index)

    def pace(self, runner_id: str, generation: int) -> RunnerPace:
        """Return the pace of a runner of the last refresh."""
        return self._paces[runner_id, generation]

    def allocated(self, runner_id: str, generation: int, count: int) -> None:
        """Say that a runner was given ``count`` tasks since the last refresh."""
        self._paces[runner_id, generation].allocated(count)

    def rate(self) -> float:
        """Return how many tasks per second the runners start together, as measured lately."""
        return sum(pace.rate or 0.0 for pace in self._paces.values())

    def _read_runners(self, began: float) -> None:
        self._runners = [
            runner
            for runner in self._storage.runners()
            if runner.state is RunnerState.ACTIVE and runner.lease_remaining_ms > 0
        ]
        self._index = FitIndex((runner.executors, runner.labels) for runner in self._runners)
        known = {(runner.id, runner.generation) for runner in self._runners}
        self._paces = {key: pace for key, pace in self._paces.items() if key in known}
        now = self._clock.monotonic()
        self._read_again_at = now + min(_OLDEST, max(_FRESHEST, _SHARE * (now - began)))
