"""Who keeps the lease of a runner, as seen from the runner."""

from __future__ import annotations

from typing import Protocol

from mqtasks.loop import Loop, LoopGroup
from mqtasks.model import RunnerRecord
from mqtasks.service import TaskService
from mqtasks.worker.beats import Beats
from mqtasks.worker.board import Board
from mqtasks.worker.keeper import LeaseKeeper
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.ward import Ward


class Lease(Protocol):
    """Something that renews the lease of one runner and shows it alive, from `start` to `stop`."""

    def board(self, parallelism: int) -> Board:
        """Return the page that the runner and the keeper share; asked once, before `start`."""
        ...

    def start(self, record: RunnerRecord, board: Board) -> None:
        """Keep the lease from now on; the runner is registered."""
        ...

    def stop(self) -> None:
        """Keep it no longer; the runner is stopped. Does nothing if it was not started."""
        ...


class ThreadLease:
    """Two threads of this process. Code that holds the interpreter for long can starve them."""

    def __init__(self, service: TaskService, options: RunnerOptions) -> None:
        self._service = service
        self._options = options
        self._loops: LoopGroup | None = None

    def board(self, parallelism: int) -> Board:
        """Return a page of this process."""
        return Board.private(parallelism)

    def start(self, record: RunnerRecord, board: Board) -> None:
        """Start the threads."""
        options, service = self._options, self._service
        ward = Ward(record, board)
        keeper = LeaseKeeper(service.storage, options, service.clock, options.log)
        keeper.add(ward)
        beats = Beats(service.heartbeats, [ward], options, service.clock)
        renewal = options.renewal_interval
        self._loops = LoopGroup(
            [
                Loop("lease", keeper.run_once, renewal, retry_interval=renewal),
                Loop("beats", beats.run_once, options.heartbeat_interval),
            ]
        )
        self._loops.start()

    def stop(self) -> None:
        """End the threads."""
        if self._loops is not None:
            self._loops.stop(5.0)
            self._loops = None
