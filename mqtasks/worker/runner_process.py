"""One runner process of a worker, as its supervisor sees it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from mqtasks.model import RunnerRecord
from mqtasks.worker.board import Board, empty_file
from mqtasks.worker.channel import Channel
from mqtasks.worker.messages import Begin, Load, Message, Stop
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.spawning import spawn_module
from mqtasks.worker.ward import Ward

FIRST_RESTART: Final = 0.1
"""Seconds before a process that died is started again; doubles with each early death."""
LAST_RESTART: Final = 10.0
_STEADY: Final = 30.0
"""A process that lived this long was well; the next restart comes soon again."""

Notify: TypeAlias = "Callable[[RunnerProcess, Message | int], None]"
"""Called with each message of the process, and last with its exit code."""


class RunnerProcess:
    """A process slot: started, and started again after each death. One thread uses it.

    ``notify`` is called in threads of its own.
    """

    def __init__(self, runner_id: str, module: str, notify: Notify) -> None:
        self.runner_id: Final = runner_id
        self._module = module
        self._notify = notify
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._watcher: threading.Thread | None = None
        self._board_fd = -1
        self._started_at = 0.0
        self.deaths = 0
        """How often in a row it has died early, or could not be started."""
        self.has_run = False
        """Whether any process of this slot has got as far as a registered runner."""
        self.complaint = ""
        """What the process says keeps it from going on; empty unless it ends for that."""
        self.ward: Ward | None = None
        """The runner in it, from `begin` to its death."""
        self.restart_at: float | None = None
        """When it is to be started again; monotonic seconds."""

    @property
    def pid(self) -> int:
        """Process id of the last start."""
        return self._process.pid if self._process is not None else 0

    @property
    def alive(self) -> bool:
        """Whether the process was started, and its end was not told yet."""
        return self._process is not None

    def start(self, app: str, given: dict[str, Any], now: float) -> None:
        """Start the process, and let it import the app.

        The calling thread must live as long as this process: its end would kill the child. Raises
        OSError if no process can be started; nothing is left open then.
        """
        self.restart_at, self._started_at, self.complaint = None, now, ""
        with contextlib.ExitStack() as undo:
            channel, theirs = Channel.pair()
            undo.callback(channel.close)
            with theirs:
                board_fd = empty_file()
                undo.callback(os.close, board_fd)
                process = spawn_module(self._module, [theirs.fileno(), board_fd])
            undo.pop_all()
        self._process, self._channel, self._board_fd = process, channel, board_fd
        channel.send(Load(app, given))
        self._watcher = threading.Thread(
            target=self._watch,
            args=(process, channel),
            name=f"mqtasks-child-{process.pid}",
            daemon=True,
        )
        self._watcher.start()

    def begin(self, options: RunnerOptions) -> None:
        """Let it start its runner."""
        board = Board.create(options.parallelism, self._board_fd)
        self._board_fd = -1
        # It may register and die before it could say so; the board knows.
        self.ward = Ward(RunnerRecord(id=self.runner_id), board, pid=self.pid, killable=True)
        self._send(Begin(self.runner_id, options.to_dict()))

    def registered(self, record: RunnerRecord) -> Ward | None:
        """Note what it has registered as; return the ward whose lease is to be kept."""
        self.has_run = True
        if self.ward is not None:
            self.ward.record = record
            self.ward.board.close_fd()
        return self.ward

    def stop(self, timeout: float | None) -> None:
        """Tell it to stop; see `TaskRunner.stop`."""
        self._send(Stop(timeout))

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    def ended(self, now: float) -> Ward | None:
        """Note that it has ended; return the ward to bury, if it had a runner."""
        ward, self.ward = self.ward, None
        channel, self._channel = self._channel, None
        watcher, self._watcher = self._watcher, None
        self._process = None
        if watcher is not None:
            watcher.join()  # it has told the exit code as its last word
        if channel is not None:
            channel.close()
        if ward is not None:
            ward.board.close_fd()
        elif self._board_fd >= 0:
            os.close(self._board_fd)
        self._board_fd = -1
        self.deaths = 0 if now - self._started_at >= _STEADY else self.deaths + 1
        return ward

    def plan_restart(self, now: float) -> float:
        """Decide when it is started again; return in how many seconds."""
        delay = min(LAST_RESTART, FIRST_RESTART * 2.0 ** min(max(0, self.deaths - 1), 30))
        self.restart_at = now + delay
        return delay

    def _send(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.send(message)

    def _watch(self, process: subprocess.Popen[bytes], channel: Channel) -> None:
        listener = threading.Thread(target=self._listen, args=(channel,), daemon=True)
        listener.start()
        code = process.wait()
        # What user code has forked may hold the other end open; what was said is still heard.
        channel.shut()
        listener.join()
        self._notify(self, code)

    def _listen(self, channel: Channel) -> None:
        while (message := channel.receive()) is not None:
            self._notify(self, message)
