"""The lease of an embedded runner, kept by a process that runs no user code (P14)."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import Final

from mqtasks.config import Settings
from mqtasks.loop import Loop, LoopGroup, LoopLike
from mqtasks.model import RunnerRecord
from mqtasks.service import TaskService
from mqtasks.worker.beats import Beats
from mqtasks.worker.board import Board
from mqtasks.worker.channel import Channel
from mqtasks.worker.messages import Keep, Stopped, settings_to_dict
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.spawning import can_spawn, spawn_module
from mqtasks.worker.ward import Ward

_MODULE: Final = "mqtasks.worker.lease_process"
_END_TIMEOUT: Final = 5.0


class ProcessLease:
    """Starts the lease process, and another one if it dies. Until then the first lease lasts.

    Without Redis, or where only the caller knows it, the keys for monitoring are written by a
    thread of this process: storage alone decides who is dead.
    """

    def __init__(self, service: TaskService, options: RunnerOptions) -> None:
        self._service = service
        self._options = options
        self._keep: Keep | None = None
        self._url = ""
        self._board_fd = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._loops: LoopGroup | None = None

    @staticmethod
    def possible(service: TaskService) -> bool:
        """Return whether another process can open the same storage."""
        return can_spawn() and service.storage.url is not None

    @property
    def pid(self) -> int:
        """Process id of the lease process; 0 before it is started."""
        return self._process.pid if self._process is not None else 0

    def board(self, parallelism: int) -> Board:
        """Return a page that both processes see."""
        return Board.create(parallelism)

    def start(self, record: RunnerRecord, board: Board) -> None:
        """Start the process, and a thread that watches over it."""
        self._board_fd = board.fd
        options, service = self._options, self._service
        beats_there = service.settings is not None and service.settings.redis is not None
        self._keep = Keep({}, options.to_dict(), record, os.getpid(), beats_there)
        self.watch_once()
        interval = options.heartbeat_interval
        loops: list[LoopLike] = [Loop("lease-process", self.watch_once, interval)]
        if not beats_there:
            beats = Beats(service.heartbeats, [Ward(record, board)], options, service.clock)
            loops.append(Loop("beats", beats.run_once, interval))
        self._loops = LoopGroup(loops)
        self._loops.start()

    def watch_once(self) -> None:
        """Start the process if it does not run, anew if the database's address has changed."""
        process, url = self._process, self._service.storage.url or ""
        if process is not None and process.poll() is None:
            if url == self._url:
                return
            self._end()
        elif process is not None:
            self._options.log.warning(
                "the lease process %d has ended with code %s; another one is started",
                process.pid,
                process.returncode,
            )
            self._end()
        assert self._keep is not None  # noqa: S101 - `start` has set it
        self._url = url
        settings = settings_of(self._service, self._options, url)
        channel, theirs = Channel.pair()
        with theirs:
            self._process = spawn_module(_MODULE, [theirs.fileno(), self._board_fd], detached=True)
        self._channel = channel
        keep = self._keep
        channel.send(
            Keep(settings_to_dict(settings), keep.options, keep.record, keep.pid, keep.beats)
        )

    def stop(self) -> None:
        """End the process; the runner has stopped."""
        if self._loops is not None:
            self._loops.stop(_END_TIMEOUT)
            self._loops = None
        self._end()

    def _end(self) -> None:
        channel, process = self._channel, self._process
        self._channel = self._process = None
        if channel is not None:
            channel.send(Stopped())
            channel.close()
        if process is not None:
            try:
                process.wait(_END_TIMEOUT)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                process.wait()


def settings_of(service: TaskService, options: RunnerOptions, url: str) -> Settings:
    """Return settings with which another process connects as this one does."""
    if service.settings is not None:
        return service.settings.replace(url=url)
    return Settings(
        url=url,
        namespace=service.keys.namespace,
        heartbeat_interval=options.heartbeat_interval,
        heartbeat_timeout=options.heartbeat_timeout,
    )
