"""Which runner, and which generation of it, this process holds."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from mqtasks.clock import Clock
from mqtasks.errors import RunnerConflict
from mqtasks.model import RunnerRecord, RunnerState
from mqtasks.storage.contract import TaskStorage
from mqtasks.worker.board import Board
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.trust import trusted_until

_MARGIN = 0.05
"""Seconds waited beyond the lease of somebody else."""


class Identity:
    """The runner row of this process. `register` and `set_state` may be called again and again."""

    def __init__(
        self,
        record: RunnerRecord,
        storage: TaskStorage,
        board: Board,
        options: RunnerOptions,
        clock: Clock,
    ) -> None:
        """Register as ``record``; without a ``holder`` it gets a random one."""
        self._record = record
        self._storage = storage
        self._board = board
        self._options = options
        self._now = clock.monotonic
        self._holder = record.holder or secrets.token_hex(16)
        self.runner_id = record.id
        self.generation = 0
        """0 until registered; raised by each registration."""

    @property
    def executors(self) -> tuple[str, ...]:
        """Stored forms of the executor codes that the scheduler is told of."""
        return self._record.executors

    def register(self, wait: Callable[[float], bool]) -> int:
        """Register as a new generation and return it; this fences every earlier one.

        While somebody else leases the id: if the options say so, that is logged and
        ``wait(seconds)`` is called once, until that lease lapses, unless it returns True (give
        up). Raises RunnerConflict.
        """
        waited = self._options.on_conflict == "raise"
        while True:
            sent_at = self._now()
            try:
                generation = self._register()
            except RunnerConflict as conflict:
                if waited:
                    raise
                waited = True
                seconds = conflict.lease_remaining + _MARGIN
                # Its message says who holds it; the usual case is a process killed just before.
                self._options.log.info(
                    "%s; this process waits for its lease to lapse, %.1f s at most",
                    conflict,
                    seconds,
                )
                if wait(seconds):
                    raise
                continue
            self._board.trusted_until = trusted_until(sent_at, self._options)
            self._board.state = RunnerState.ACTIVE
            self._board.generation = self.generation = generation
            return generation

    def _register(self) -> int:
        record = self._record
        return self._storage.register_runner(
            RunnerRecord(
                id=record.id,
                holder=self._holder,
                executors=record.executors,
                labels=dict(record.labels),
                cpu=record.cpu,
                memory=record.memory,
                resources=dict(record.resources),
                parallelism=record.parallelism,
                max_wait_tasks=record.max_wait_tasks,
                host=record.host,
                pid=record.pid,
                version=record.version,
            ),
            self._options.lease_ms,
            self._options.max_crashes,
        )

    def set_state(self, state: RunnerState) -> bool:
        """Write the state of the runner row; False if this generation is over."""
        written = self._storage.set_runner_state(self.runner_id, self.generation, state)
        if written:
            self._board.state = state
        return written
