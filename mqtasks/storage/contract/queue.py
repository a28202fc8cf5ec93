"""The hot path: from due to allocated to ended, in batches, every write fenced by epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from mqtasks.model import AsyncTask, Leadership, TaskEpoch
from mqtasks.storage.contract.records import (
    Allocation,
    CancelReport,
    Completion,
    LaneLoad,
    LaneSample,
    Limit,
    Owned,
    RetryRequest,
    WriteReport,
)


class QueueOperations(ABC):
    """Moving tasks through their states. See `TaskRecords` for obligations shared by all.

    "Fenced" means: the row must still be live (RUNNING or CANCEL_REQUESTED), owned by this
    runner at this epoch. A fenced write that does not match changes nothing and reports the task
    as lost, except when the row already shows the outcome asked for by this runner and epoch
    (P10: a write repeated after an unknown commit). A CANCEL_REQUESTED row is never COMPLETED,
    SCHEDULED or CREATED by its owner: any ending makes it CANCELED, with what the executor said
    kept in the history (P9).
    """

    # -- scheduler side ------------------------------------------------------------------------

    @abstractmethod
    def promote_due(self, limit: int) -> int:
        """Turn up to ``limit`` SCHEDULED rows with run_at <= now into CREATED; return how many.

        Earliest run_at first. Epoch, attempt and crashes stay.
        """

    @abstractmethod
    def next_due_in_ms(self) -> int | None:
        """Return milliseconds until the earliest SCHEDULED row is due (<= 0: now); None = none."""

    @abstractmethod
    def lanes(self, after: int, limit: int) -> list[int]:
        """Return up to ``limit`` lanes > ``after`` that hold CREATED rows, ascending.

        Costs one index seek per lane, not per row (P7).
        """

    @abstractmethod
    def lane_tasks(self, lane: int, limit: int) -> list[AsyncTask]:
        """Return the first CREATED rows of a lane: highest priority, then run_at, then id.

        Served in index order; costs O(limit).
        """

    @abstractmethod
    def allocate_many(
        self,
        allocations: Sequence[Allocation],
        leadership: Leadership | None = None,
        limits: Sequence[Limit] = (),
    ) -> frozenset[int]:
        """Give tasks to runners and return the ids that were given (P1, P2, P6).

        One transaction that: locks the leader row and raises NotLeader if ``leadership`` is not
        held any more (skipped when None: a caller that allocates by hand); locks the runner rows
        (ascending id) and drops allocations to a runner that has a row but is not ACTIVE in that
        generation, or whose lease has lapsed; counts live tasks of the limited executors and
        keys, and what those of the limited runners reserve, and drops allocations that would
        exceed a limit, or find their bucket without a token (in the order given; of two limits
        for one thing the lower holds; what is dropped, here or before, takes neither room nor
        tokens); then, where the row still has that epoch
        and is CREATED (or, by hand only, RUNNING at another runner), writes RUNNING, the runner,
        its generation, epoch + 1, started_at 0 and last_heartbeat now. A runner without a row
        (foreign implementation) is accepted only by hand. A RUNNING task that changes hands so
        gets an attempt row (LOST) for the allocation that this ends.
        """

    @abstractmethod
    def rate_buckets(self, buckets: Sequence[str]) -> dict[str, int]:
        """Return when these token buckets will be full again: unix microseconds, database clock.

        Those never used are left out, and so may be those that are full. See `RateLimit.tokens`.
        """

    @abstractmethod
    def live_load(self) -> list[LaneLoad]:
        """Return how many live rows each runner owns, by lane. Index only."""

    @abstractmethod
    def lane_signatures(self, lanes: Sequence[int]) -> list[LaneSample]:
        """Return the signature of lanes that have live or CREATED rows; others are left out."""

    # -- worker side ---------------------------------------------------------------------------

    @abstractmethod
    def owned(self, runner_id: str, generation: int) -> list[Owned]:
        """Return every live row of this generation of a runner, payloads left out."""

    @abstractmethod
    def load(self, task_ids: Sequence[int]) -> list[AsyncTask]:
        """Return the stored tasks with these ids, by ascending id."""

    @abstractmethod
    def complete_many(self, runner_id: str, completions: Sequence[Completion]) -> WriteReport:
        """End tasks as COMPLETED with their results; fenced.

        Writes completed_at now, started_at now - elapsed_ms. A failure also writes an attempt
        row, and crashes + 1 if its outcome is CRASHED (the process of an isolated executor died).
        A failure whose outcome is CANCELED ends as CANCELED, and is told among the canceled.
        Equal results share a statement; 1,000 successes without a value are one UPDATE.
        """

    @abstractmethod
    def retry_many(self, runner_id: str, retries: Sequence[RetryRequest]) -> WriteReport:
        """Turn failed attempts into SCHEDULED with run_at now + delay_ms, attempt + 1; fenced.

        Of those whose outcome is CRASHED, the crashes are counted instead of the attempt: the
        process of an isolated executor died, while its runner lives. SNOOZED counts as neither.
        Writes an attempt row; clears the runner; keeps the epoch.
        """

    @abstractmethod
    def release_many(
        self, runner_id: str, releases: Sequence[TaskEpoch], reason: str
    ) -> WriteReport:
        """Give tasks back: CREATED, no runner, epoch and attempt kept, due at once; fenced.

        Writes an attempt row (RELEASED, error = ``reason``).
        """

    @abstractmethod
    def release_unstarted(self, runner_id: str, generation: int, reason: str) -> int:
        """Give back every live row of the runner's generation that has started_at 0 (P2)."""

    @abstractmethod
    def mark_started(self, runner_id: str, started: Sequence[TaskEpoch]) -> WriteReport:
        """Write started_at (if 0) and last_heartbeat now for tasks in an executor; fenced.

        CANCEL_REQUESTED rows are reported in ``canceled`` but stay CANCEL_REQUESTED.
        """

    @abstractmethod
    def heartbeat_many(self, runner_id: str, beats: Sequence[TaskEpoch]) -> WriteReport:
        """Write last_heartbeat now where the row's epoch <= the caller's; else lost.

        CANCEL_REQUESTED rows are renewed too, and reported in ``canceled``.
        """

    @abstractmethod
    def save_progress(self, runner_id: str, task: TaskEpoch, progress: bytes) -> bool:
        """Write the progress of a task; fenced. Returns False if the task is lost."""

    # -- producer and operator side ------------------------------------------------------------

    @abstractmethod
    def cancel_many(self, task_ids: Sequence[int]) -> CancelReport:
        """Cancel: CREATED, SCHEDULED and WAITING end as CANCELED, RUNNING is CANCEL_REQUESTED.

        A row that is CANCEL_REQUESTED already is reported as requested again.
        """

    @abstractmethod
    def requeue_many(self, task_ids: Sequence[int], *, keep_steps: bool = True) -> tuple[int, ...]:
        """Run FAILED and CANCELED tasks again: CREATED, due now, attempt, crashes, reassigned 0.

        The epoch and the history are kept, and the steps unless ``keep_steps`` is False. A task
        that had waited for others does not wait for them again, and a deadline is lifted: whoever
        asks for this overrules it. Returns the ids that were requeued.
        """
