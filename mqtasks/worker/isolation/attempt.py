"""One isolated task on one child process, from its start to what came of it."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from mqtasks.model import ExecuteResult, Progress
from mqtasks.worker.held import Held
from mqtasks.worker.isolation.call import IsolatedCall
from mqtasks.worker.isolation.deaths import stacks
from mqtasks.worker.isolation.frames import (
    Completing,
    Gone,
    Noted,
    Ready,
    Reported,
    Run,
    Started,
    Succeeded,
    ToRunner,
    Unfit,
)
from mqtasks.worker.isolation.ladder import Ladder
from mqtasks.worker.isolation.process import ChildProcess

_LINGER: Final = 1.0
"""Seconds that a process gets to end once it has closed its end of the wire."""


class Died(msgspec.Struct, frozen=True):
    """The process has ended without an answer; ``code`` is its exit code."""

    code: int
    dump: str
    started: bool
    """It had begun with the task."""
    reason: str
    """Why the task was to give up; empty if it was not."""
    ready: bool
    """It had come as far as to take tasks."""

    @property
    def harmless(self) -> bool:
        """It was started, or waited, and had not begun with the task: another process may."""
        return not (self.started or self.reason)


class NotReady(msgspec.Struct, frozen=True):
    """The process did not come as far as to take a task."""

    error: str
    traceback: str


class GivenUp(msgspec.Struct, frozen=True):
    """The task was cancelled before the process was ready for it."""


Answer: TypeAlias = Succeeded | Gone | Died | NotReady | GivenUp


class IsolatedAttempt:
    """Drives a child through one task. Used once, by one thread.

    ``begin(held)`` is called when the process is ready, right before it is given the task;
    ``report(held, progress)`` for what the executor reports.
    """

    def __init__(
        self,
        held: Held,
        call: IsolatedCall,
        child: ChildProcess,
        *,
        begin: Callable[[Held], None],
        report: Callable[[Held, bytes | Progress], None],
        start_timeout: float,
        cancel_timeout: float,
        memory: int,
    ) -> None:
        self._held = held
        self._call = call
        self._child = child
        self._begin = begin
        self._report = report
        self._start_timeout = start_timeout
        self._cancel_timeout = cancel_timeout
        self._memory = memory
        self._ladder: Ladder | None = None
        self._running = False
        self._started = False
        held.cancel_event = child.bell
        self._poll = select.poll()
        self._poll.register(child.wire.fd)
        self._poll.register(child.bell.fd, select.POLLIN)

    def run(self) -> Answer:
        """Return what came of it; the process is dead afterwards, or waits for the next task."""
        child, wire = self._child, self._child.wire
        until = time.monotonic() + self._start_timeout
        if child.ready:
            self._hand_over()
        while True:
            message = wire.receive()
            if message is not None:
                answer = self._hear(message)
                if answer is not None:
                    return answer
            elif wire.over:
                return self._dead()
            elif self._running:
                self._wait(self._press())
            elif self._held.cancel_reason:
                return GivenUp()
            else:
                rest = until - time.monotonic()
                if rest <= 0:
                    child.kill()
                    why = f"was not ready after {self._start_timeout:g} s"
                    return NotReady(why, stacks(child.dumps()))
                self._wait(rest)

    @property
    def broke_off(self) -> bool:
        """Force was used; the process is not to be used again."""
        return self._ladder is not None and self._ladder.broke_off

    def _hand_over(self) -> None:
        held, call, child = self._held, self._call, self._child
        self._running = True
        child.tasks += 1
        self._begin(held)
        child.wire.send(
            Run(
                held.task,
                call.module,
                call.name,
                held.started,
                held.deadline,
                held.expires,
                self._memory,
            )
        )

    def _press(self) -> float | None:
        """Make a task give up that shall; return seconds until more is to be done for it."""
        reason = self._held.cancel_reason
        if self._ladder is None:
            if not reason:
                return None
            self._ladder = Ladder(self._child, reason, self._cancel_timeout)
        return self._ladder.climb()

    def _wait(self, timeout: float | None) -> None:
        child, wire = self._child, self._child.wire
        wanted = select.POLLIN | (select.POLLOUT if wire.unsent else 0)
        self._poll.modify(wire.fd, wanted)
        ready = dict(self._poll.poll(None if timeout is None else max(1, timeout * 1000)))
        if child.bell.fd in ready:
            child.bell.hear()
        if ready.get(wire.fd, 0) & select.POLLOUT:
            wire.flush()

    def _hear(self, message: ToRunner) -> Answer | None:
        child = self._child
        match message:
            case Ready():
                child.ready = True
                if not self._held.cancel_reason:
                    self._hand_over()
            case Started():
                self._started = True
            case Reported(execution, data, progress):
                said = progress if data is None else data
                if said is not None and execution == self._held.key:
                    self._report(self._held, said)
            case Completing(execution, value):
                if execution == self._held.key:
                    self._held.completion = ExecuteResult(value=value)
                child.wire.send(Noted())
            case Unfit(error, traceback):
                return NotReady(f"cannot import what it shall run: {error}", traceback)
            case Succeeded() | Gone():
                return message
        return None

    def _dead(self) -> Answer:
        child = self._child
        if not child.wait(_LINGER):
            child.kill()  # it lives, but it has closed what it does not know
        reason = self._held.cancel_reason if self._ladder is not None else ""
        return Died(child.code, child.dumps(), self._started, reason, child.ready)
