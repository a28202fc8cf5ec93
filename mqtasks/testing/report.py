"""What a drain has done, and what it has left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from mqtasks.model import AsyncTask, AttemptOutcome, ResultCode, TaskStatus
from mqtasks.worker.held import Held
from mqtasks.worker.outcome import Failed

Ended: TypeAlias = Literal[
    "succeeded", "failed", "retried", "snoozed", "canceled", "crashed", "fenced", "released"
]


@dataclass(frozen=True, slots=True)
class Ran:
    """One execution of one task."""

    task_id: int
    id: str
    """The producer's name of the task."""
    task: int | str
    """Its executor code."""
    epoch: int
    """1 = its first execution."""
    ended: Ended
    """``retried``: it has failed and is scheduled again; ``crashed``: its process has died;
    ``fenced``: somebody else has got the task meanwhile, and this outcome was refused;
    ``released``: it was interrupted and goes back."""
    reason: str = ""
    """Why it did not succeed."""
    error: BaseException | None = None
    """What its function has raised, if anything."""

    def __str__(self) -> str:
        """Show it in one line."""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.task} (task {self.task_id}, epoch {self.epoch}) {self.ended}{why}"


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A task that becomes due later."""

    task_id: int
    id: str
    task: int | str
    at: datetime
    """When it is due, UTC."""
    seconds: float
    """How far to `advance` for it."""

    def __str__(self) -> str:
        """Show it in one line."""
        return f"{self.task} (task {self.task_id}) due in {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Stuck:
    """A task that is due, and that cannot run."""

    task_id: int
    id: str
    task: int | str
    why: str

    def __str__(self) -> str:
        """Show it in one line."""
        return f"{self.task} (task {self.task_id}): {self.why}"


@dataclass(frozen=True, slots=True)
class DrainReport:
    """Answer of `TaskTester.drain`: executions in their order, and what waits for what."""

    ran: tuple[Ran, ...] = ()
    scheduled: tuple[Scheduled, ...] = ()
    """Those that are due later, the next one first."""
    stuck: tuple[Stuck, ...] = ()
    """Those that are due, with the reason why nothing can run them."""
    waiting: tuple[int, ...] = ()
    """Task ids of those that begin after others, which have not ended."""

    def __len__(self) -> int:
        """Return the number of executions."""
        return len(self.ran)

    def __bool__(self) -> bool:
        """Return whether anything has run."""
        return bool(self.ran)

    def of(self, *endings: Ended) -> tuple[Ran, ...]:
        """Return the executions that ended so."""
        return tuple(one for one in self.ran if one.ended in endings)

    @property
    def succeeded(self) -> tuple[Ran, ...]:
        """Executions that ended in success."""
        return self.of("succeeded")

    @property
    def failed(self) -> tuple[Ran, ...]:
        """Executions after which their task is FAILED."""
        return self.of("failed")

    @property
    def retried(self) -> tuple[Ran, ...]:
        """Executions that failed, whose task is tried again."""
        return self.of("retried")

    @property
    def crashed(self) -> tuple[Ran, ...]:
        """Executions whose process has died."""
        return self.of("crashed")

    def __str__(self) -> str:
        """Show it, one line for each task."""
        parts: Iterable[tuple[str, Sequence[object]]] = (
            ("ran", self.ran),
            ("scheduled", self.scheduled),
            ("stuck", self.stuck),
            ("waiting for others", [f"task {task_id}" for task_id in self.waiting]),
        )
        lines = [f"{name}:\n  " + "\n  ".join(map(str, rows)) for name, rows in parts if rows]
        return "\n".join(lines) or "nothing has run, and nothing waits"


def how_it_ended(
    held: Held, row: AsyncTask | None, *, died: bool, error: BaseException | None
) -> Ran:
    """Return the record of an execution whose outcome is committed; ``row`` is what it led to."""
    outcome = held.outcome
    reason = outcome.error if isinstance(outcome, Failed) else getattr(outcome, "reason", "")
    ended: Ended = "released"
    if died:
        ended, reason = "crashed", "its process died"
    elif row is None or row.epoch != held.epoch:
        ended, reason = "fenced", reason or "the task was not its own any more"
    elif row.status is TaskStatus.CANCELED:
        ended = "canceled"
    elif row.status is TaskStatus.COMPLETED:
        result = row.execute_result
        good = result is not None and result.code is ResultCode.SUCCESS
        ended = "succeeded" if good else "failed"
    elif isinstance(outcome, Failed):
        ended = "snoozed" if outcome.kind is AttemptOutcome.SNOOZED else "retried"
    return Ran(
        held.task_id,
        held.task.metadata.id,
        held.task.metadata.executor,
        held.epoch,
        ended,
        reason,
        None if died else error,
    )


def scheduled_of(rows: Iterable[AsyncTask], now_ms: int) -> tuple[Scheduled, ...]:
    """Return those of ``rows`` that become due later."""
    later = sorted(
        (row for row in rows if row.status is TaskStatus.SCHEDULED), key=lambda row: row.run_at
    )
    return tuple(
        Scheduled(
            row.id,
            row.metadata.id,
            row.metadata.executor,
            datetime.fromtimestamp(row.run_at / 1000, UTC),
            max(0, row.run_at - now_ms) / 1000,
        )
        for row in later
    )
