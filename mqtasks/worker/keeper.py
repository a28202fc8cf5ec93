"""Keeping leases: the part of a worker that runs no user code (P3, P14)."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mqtasks.clock import Clock
from mqtasks.model import RunnerState
from mqtasks.storage.contract import Renewal, RescueReport, TaskStorage
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.trust import trusted_until
from mqtasks.worker.ward import Ward

_LEAST_PATIENCE: Final = 1.0
"""Seconds by which a runner's watchdog may be late at least, because others use the CPU."""


class LeaseKeeper:
    """Renews the leases of its wards, one statement for all, and reports those that die.

    ``run_once`` is its step, once per ``heartbeat_interval``. All methods are safe to call from
    many threads.
    """

    def __init__(
        self,
        storage: TaskStorage,
        options: RunnerOptions,
        clock: Clock,
        log: logging.Logger,
        process_state: Callable[[int], str] | None = None,
    ) -> None:
        """``process_state(pid)`` returns the state letter of a process, as /proc has it."""
        self._storage = storage
        self._options = options
        self._now = clock.monotonic
        self._log = log
        self._process_state = process_state or _process_state
        self._lock = threading.Lock()
        self._wards: dict[str, Ward] = {}

    def add(self, ward: Ward) -> None:
        """Keep the lease of a runner from the next step on."""
        with self._lock:
            self._wards[ward.runner_id] = ward

    def remove(self, ward: Ward) -> None:
        """Keep it no longer. Unknown wards are ignored."""
        with self._lock:
            if self._wards.get(ward.runner_id) is ward:
                del self._wards[ward.runner_id]

    @property
    def wards(self) -> list[Ward]:
        """Those whose lease is kept now."""
        with self._lock:
            return list(self._wards.values())

    def run_once(self) -> None:
        """Renew all leases; raises StorageError, and then nobody's trust is extended."""
        wards = [
            ward
            for ward in self.wards
            if ward.live and not self._frozen(ward) and not self._stuck(ward)
        ]
        if not wards:
            return
        renewals = [Renewal(ward.runner_id, ward.board.generation) for ward in wards]
        sent_at = self._now()  # before it is sent: the lease cannot have begun earlier
        renewed = self._storage.renew_runners(renewals, self._options.lease_ms)
        until = trusted_until(sent_at, self._options)
        for ward, renewal in zip(wards, renewals, strict=True):
            if renewal.runner_id in renewed:
                ward.board.trusted_until = max(until, ward.board.trusted_until)
            elif ward.live:  # it may have stopped in between
                ward.board.fenced = renewal.generation

    def bury(self, ward: Ward) -> RescueReport | None:
        """Report a runner whose process is dead; its tasks move at once. Raises StorageError.

        Only what had been handed to an executor is charged (P8). None if there is nothing to
        report: it never registered, has stopped in order, or somebody was quicker.
        """
        if not ward.live:
            self.remove(ward)
            return None
        board = ward.board
        started = board.executing()
        report = self._storage.report_dead(
            ward.runner_id, board.generation, started, self._options.max_crashes, ward.cause
        )
        board.state = RunnerState.STOPPED
        self.remove(ward)
        if report is not None:
            self._log.warning(
                "runner %s died while it executed %d tasks: %d tasks move, %d have failed for good",
                ward.runner_id,
                len(started),
                len(report.requeued),
                len(report.failed),
            )
        return report

    # -- processes that live, but do not run -----------------------------------------------------

    def _frozen(self, ward: Ward) -> bool:
        """Return whether its process has been stopped for so long that its lease must end."""
        if not ward.pid or self._process_state(ward.pid) not in {"T", "t"}:
            ward.stopped_since = None
            return False
        now = self._now()
        if ward.stopped_since is None:
            ward.stopped_since = now
        timeout = self._options.heartbeat_timeout
        if now - ward.stopped_since < timeout:
            return False
        if ward.killable:
            self._log.error(
                "runner %s: its process %d has been stopped (state T) for %g s and is killed",
                ward.runner_id,
                ward.pid,
                timeout,
            )
            ward.cause = f"its process was stopped (state T) for {timeout:g} s, and was killed"
            os.kill(ward.pid, signal.SIGKILL)  # its end is noticed, and reported, as any other
        return True

    def _stuck(self, ward: Ward) -> bool:
        """Return whether its process had to end a task, and no thread of it comes to that.

        A call that keeps the interpreter to itself, and whose task is out of time: nothing but the
        end of the process ends it. Seen in two steps, for this process and that one may both have
        been frozen until just now.
        """
        act_by = ward.board.act_by
        patience = max(self._options.heartbeat_interval, _LEAST_PATIENCE)
        overdue = 0 < act_by < self._now() - patience
        if not overdue or not ward.killable or not ward.pid or ward.stopped_since is not None:
            ward.overdue = 0.0
            return False
        if ward.overdue != act_by:
            ward.overdue = act_by
            return False
        self._log.error(
            "runner %s: a task is out of time, and a call in process %d keeps the interpreter to"
            " itself: the process is killed (tasks in it: %s); isolation='process' is for such"
            " code",
            ward.runner_id,
            ward.pid,
            ", ".join(str(item.task_id) for item in ward.board.executing()),
        )
        ward.cause = (
            f"process {ward.pid} was killed: a task in it was out of time, and a call kept the"
            " interpreter to itself (isolation='process' is for such code)"
        )
        os.kill(ward.pid, signal.SIGKILL)
        return True


def _process_state(pid: int) -> str:
    """Return the state letter of a process, empty if that cannot be known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]
