"""A runner as its keeper sees it."""

from __future__ import annotations

from mqtasks.coordination.base import RunnerBeat
from mqtasks.model import RunnerRecord, RunnerState
from mqtasks.worker.board import Board


class Ward:
    """One runner whose lease is kept: what it registered as, and its board.

    ``pid`` is its process, if that is not the keeper's own; ``killable`` whether the keeper may
    end that process when it is stopped for too long.
    """

    def __init__(
        self, record: RunnerRecord, board: Board, *, pid: int = 0, killable: bool = False
    ) -> None:
        self.record = record
        self.board = board
        self.pid = pid
        self.killable = killable
        self.stopped_since: float | None = None
        """Since when its process has been seen in state T; monotonic seconds."""
        self.cause = ""
        """How its process has ended; the error of the attempts that ended with it."""
        self.overdue = 0.0
        """What its watchdog should have done by then, and had not when it was last looked at."""

    @property
    def runner_id(self) -> str:
        """Its runner id."""
        return self.record.id

    @property
    def live(self) -> bool:
        """Whether it has a lease to keep: registered, and not stopped."""
        state = self.board.state
        return state is not None and state is not RunnerState.STOPPED

    def beat(self) -> RunnerBeat:
        """Return what it shows to monitoring tools."""
        record, board = self.record, self.board
        started, completed, failed, free = board.counts
        state = board.state
        return RunnerBeat(
            runner_id=record.id,
            generation=board.generation,
            host=record.host,
            pid=record.pid,
            parallelism=record.parallelism,
            free_slots=free,
            executors=record.executors,
            labels=record.labels,
            cpu=record.cpu,
            memory=record.memory,
            running=len(board.executing()),
            started_total=started,
            completed_total=completed,
            failed_total=failed,
            version=record.version,
            state="" if state is None else state.name.lower(),
        )
