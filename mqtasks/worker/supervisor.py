"""The parent of ``mqtasks worker``: keeps leases and processes alive, and runs no user code."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias

from mqtasks.clock import Clock, SystemClock
from mqtasks.coordination.keys import Keys
from mqtasks.errors import InvalidArgument, MQTasksError
from mqtasks.model import checked_id
from mqtasks.process.identity import default_runner_id
from mqtasks.process.signals import Stage, StopStages
from mqtasks.runtime import Runtime
from mqtasks.worker.care import Care, Companion
from mqtasks.worker.isolation import deaths
from mqtasks.worker.messages import (
    Broken,
    Loaded,
    Message,
    Registered,
    settings_from_dict,
)
from mqtasks.worker.runner_process import LAST_RESTART, RunnerProcess

__all__ = ["CHILD_MODULE", "Companion", "Supervisor", "runner_ids"]

CHILD_MODULE: Final = "mqtasks.worker.child"
_END_TIMEOUT: Final = 10.0
"""Seconds that a process gets to end, beyond those that its tasks get, before it is killed."""
_POLL: Final = 60.0

_log = logging.getLogger("mqtasks.worker")


class _Buried:
    """A dead runner was reported."""


_Event: TypeAlias = "tuple[RunnerProcess | None, Message | int | Stage | _Buried]"
"""Which process, and what: its message, its exit code, or that it was reported dead."""


class Supervisor:
    """Runs the tasks of an app in one or more processes, until it is told to stop.

    The app is imported by the processes only. The first one reports the settings in force, with
    which this process then connects; so the supervisor survives whatever user code does.

    A process that dies is started again, after 0.1 s and, while it dies early, up to 10 s. Only
    one that has never run, and fails of anything but an outage, ends the worker: settings, app or
    schema are wrong, or making the runner raises whatever else. The others finish their tasks, then
    `run` raises what it said. Said by a process that has run before, by reason of a deployment that
    went wrong, it is logged as an error each time and tried again: the rest of the worker goes on,
    and the next deployment mends it. A traceback is logged once, until another one comes.

    Args:
        app: ``MODULE:APP``.
        given: Settings by name that win over what the app says of itself.
        processes: How many runner processes, >= 1.
        name: Runner id; with several processes ``-1``, ``-2`` ... are appended. By default unique.
        options: Runner options by name that win over the settings.
        opened: Called once with the connections; returns companions to start and stop along.
        child_module: Module that the processes run, see `mqtasks.worker.child`.
        clock: Measures restarts.
    """

    def __init__(
        self,
        app: str,
        given: Mapping[str, Any] | None = None,
        *,
        processes: int = 1,
        name: str | None = None,
        options: Mapping[str, Any] | None = None,
        opened: Callable[[Runtime], Sequence[Companion]] | None = None,
        child_module: str = CHILD_MODULE,
        clock: Clock | None = None,
    ) -> None:
        ids = runner_ids(name, processes)
        self._app = app
        self._given = dict(given or {})
        self._options = dict(options or {})
        self._opened = opened
        self._now = (clock or SystemClock()).monotonic
        self._events: SimpleQueue[_Event] = SimpleQueue()
        self._children = [RunnerProcess(id_, child_module, self._notify) for id_ in ids]
        self._stage = Stage.RUNNING
        self._kill_at: float | None = None
        self._unburied = 0
        self._failure: MQTasksError | None = None
        self._trace = ""
        """The traceback that was logged last."""
        self._executors: tuple[str, ...] = ()
        """The executors that were logged last."""
        self._care: Care | None = None

    def run(self) -> int:
        """Work until told to stop, and return the exit code: 0, or 1 after the third signal.

        Main thread only: handles TERM and INT in three stages. Raises what makes a start
        impossible: ConfigError (the app cannot be imported or holds no task, a setting is wrong),
        SchemaMismatch, StorageUnavailable, OSError (no process can be started), and MQTasksError
        for any other error in a process that has not run yet.
        """
        stages = (Stage.GRACEFUL, Stage.HURRY, Stage.KILL)
        graceful, hurry, kill = ((lambda stage=stage: self.advance(stage)) for stage in stages)
        with StopStages(graceful, hurry, kill, logger=_log):
            try:
                self._start(self._children[0])
                while not self._over():
                    self._step()
            finally:
                self._close()
        if self._failure is not None:
            raise self._failure
        return int(self._stage is Stage.KILL)

    def advance(self, stage: Stage) -> None:
        """Go to a stop stage, as a signal does. From any thread."""
        self._events.put((None, stage))

    @property
    def pids(self) -> list[int]:
        """Process ids of the runner processes that live."""
        return [child.pid for child in self._children if child.alive]

    # -- events ----------------------------------------------------------------------------------

    def _notify(self, child: RunnerProcess, event: Message | int) -> None:
        self._events.put((child, event))

    def _step(self) -> None:
        """Handle one event, or what is due."""
        now = self._now()
        dues = [child.restart_at for child in self._children if child.restart_at is not None]
        if self._kill_at is not None:
            dues.append(self._kill_at)
        try:
            child, event = self._events.get(timeout=max(0.0, min([now + _POLL, *dues]) - now))
        except Empty:
            self._due(self._now())
            return
        if isinstance(event, Stage):
            self._stop(event)
        elif child is not None:
            if isinstance(event, _Buried):
                self._unburied -= 1
                self._restart(child)
            elif isinstance(event, int):
                self._ended(child, event)
            else:
                self._heard(child, event)

    def _over(self) -> bool:
        if self._stage is Stage.RUNNING or any(child.alive for child in self._children):
            return False
        return not self._unburied or self._stage is Stage.KILL

    def _due(self, now: float) -> None:
        if self._kill_at is not None and now >= self._kill_at:
            _log.error("worker: processes %s have not ended in time and are killed", self.pids)
            self._kill()
        for child in self._children:
            if child.restart_at is not None and now >= child.restart_at:
                self._start_again(child)

    # -- runner processes ------------------------------------------------------------------------

    def _start(self, child: RunnerProcess) -> None:
        child.start(self._app, self._given, self._now())

    def _start_again(self, child: RunnerProcess) -> None:
        try:
            self._start(child)
        except OSError as error:  # no memory, say, or no descriptor; the others go on
            _log.error("no process for runner %s can be started: %s", child.runner_id, error)
            child.deaths += 1
            self._restart(child)

    def _heard(self, child: RunnerProcess, message: Message) -> None:
        if isinstance(message, Broken):
            self._broken(child, message)
        elif isinstance(message, Loaded):
            self._loaded(child, message)
        elif isinstance(message, Registered) and self._care is not None:
            self._say_executors(message.record.executors)
            ward = child.registered(message.record)
            if ward is not None:
                self._care.keeper.add(ward)

    def _loaded(self, child: RunnerProcess, message: Loaded) -> None:
        if self._stage is not Stage.RUNNING:
            child.kill()  # it has nothing yet that it would have to give back
            return
        if self._care is None:
            settings = settings_from_dict(message.settings)
            self._care = Care(settings, self._options, self._opened)
            for other in self._children[1:]:
                self._start(other)
        child.begin(self._care.options)

    def _broken(self, child: RunnerProcess, message: Broken) -> None:
        """Hear why a process ends, which it does next."""
        error = message.error()
        if message.trace and message.trace != self._trace:
            self._trace = message.trace
            _log.error("the process of runner %s failed\n%s", child.runner_id, message.trace)
        if self._care is None:
            raise error
        child.complaint = message.message
        if child.has_run or self._stage is not Stage.RUNNING or not message.lasting:
            return
        self._failure = error
        if message.trace:
            said = f"runner {child.runner_id} cannot start: {child.complaint}"
            self._failure = MQTasksError(said)
        if any(other.has_run for other in self._children):
            _log.error(
                "runner %s cannot start, so the worker stops: %s", child.runner_id, child.complaint
            )
        self._stop(Stage.GRACEFUL)

    def _say_executors(self, codes: tuple[str, ...]) -> None:
        """Log what the app has, once and when a deployment has changed it.

        Tasks of any other executor wait for ever, so whoever looks for one finds it here.
        """
        if codes != self._executors:
            self._executors = codes
            _log.info("executors of %s: %s", self._app, ", ".join(sorted(codes)))

    def _ended(self, child: RunnerProcess, code: int) -> None:
        pid = child.pid
        ward = child.ended(self._now())
        if ward is not None:
            ward.cause = ward.cause or f"process {pid} of its runner {deaths.cause(code)}"
        if self._stage is Stage.RUNNING:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            if self._care is None:
                raise MQTasksError(f"app={self._app!r}: the process that imported it {how}")
            if child.complaint:
                how = f"cannot go on: {child.complaint}"
            _log.error(
                "runner %s (process %d) %s; it is started again, within %.0f s",
                child.runner_id,
                pid,
                how,
                LAST_RESTART,
            )
        if ward is None or self._care is None:
            self._restart(child)
        else:
            self._unburied += 1
            self._care.undertaker.take(ward, lambda: self._events.put((child, _Buried())))

    def _restart(self, child: RunnerProcess) -> None:
        if self._stage is Stage.RUNNING:
            delay = child.plan_restart(self._now())
            _log.info("runner %s is started again in %.1f s", child.runner_id, delay)

    # -- the end ---------------------------------------------------------------------------------

    def _stop(self, stage: Stage) -> None:
        if stage <= self._stage:
            return
        self._stage = stage
        for child in self._children:
            child.restart_at = None
        if stage is Stage.KILL or self._care is None:
            self._kill()
            return
        options = self._care.options
        hurry = stage is Stage.HURRY
        grace = options.cancel_timeout + (0.0 if hurry else options.shutdown_timeout)
        self._kill_at = self._now() + grace + _END_TIMEOUT
        for child in self._children:
            child.stop(0.0 if hurry else None)

    def _kill(self) -> None:
        self._kill_at = None
        for child in self._children:
            child.kill()

    def _close(self) -> None:
        self._kill()
        for child in self._children:
            if child.alive:
                child.ended(self._now())
        if self._care is not None:
            self._care.close()


def runner_ids(name: str | None, processes: int) -> list[str]:
    """Return the id of each runner process: ``name``, or ``name-1``, ``name-2``, ... of several.

    Raises InvalidArgument for an id that no runner may have: a child that refused it would only
    be started again.
    """
    if processes < 1:
        raise InvalidArgument("processes", processes, "must be >= 1")
    base = default_runner_id() if name is None else name
    ids = [base] if processes == 1 else [f"{base}-{n}" for n in range(1, processes + 1)]
    keys = Keys()
    for runner_id in ids:
        keys.runner(checked_id("runner_id", runner_id))
    return ids
