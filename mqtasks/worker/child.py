"""``python -m mqtasks.worker.child``: one runner process of ``mqtasks worker``.

It inherits a channel and a board. The supervisor says what to import, when to start and when to
stop, and keeps the lease. This process never outlives it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Final

from mqtasks.config import Settings
from mqtasks.model import RunnerRecord
from mqtasks.process.signals import dump_stacks_on_signal
from mqtasks.worker.apps import WorkerApp, load_app, log_to_stderr
from mqtasks.worker.board import Board
from mqtasks.worker.channel import Channel
from mqtasks.worker.isolation.origin import CHILD_MODULE, Origin
from mqtasks.worker.messages import (
    Begin,
    Broken,
    Load,
    Loaded,
    Registered,
    Stop,
    Stopped,
    settings_to_dict,
)
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.parent import die_with_parent, ignore_stop_signals
from mqtasks.worker.runner import TaskRunner

_log = logging.getLogger("mqtasks.worker")
_LOST: Final = "as many of its threads as it has slots are lost in tasks that do not give up"
_LAST_WORDS: Final = 5.0
"""Seconds to hand tasks back when the supervisor is gone; nobody renews the lease any more."""


def main(
    load: Callable[[str], WorkerApp] | None = None,
    prepare: Callable[[Settings], object] | None = None,
    isolated: str = CHILD_MODULE,
) -> int:
    """Run one runner process; return its exit code.

    ``load(name)`` imports the app, `load_app` by default; ``prepare(settings)`` is called before
    anything is logged, to set up logging. Processes for isolated tasks run the module ``isolated``.
    """
    channel = Channel.from_fd(int(sys.argv[1]))
    die_with_parent(os.getppid())
    ignore_stop_signals()
    dump_stacks_on_signal()
    try:
        child = _Child(channel, int(sys.argv[2]), isolated)
        return child.run(load or load_app, prepare or log_to_stderr)
    except Exception as error:  # noqa: BLE001 - the supervisor says what went wrong, once
        channel.send(Broken.of(error))
        return 1


class _Child:
    def __init__(self, channel: Channel, board_fd: int, isolated: str) -> None:
        self._channel = channel
        self._board_fd = board_fd
        self._isolated = isolated
        self._done = False
        self._replaced = False
        self._error: Exception | None = None

    def run(self, load: Callable[[str], WorkerApp], prepare: Callable[[Settings], object]) -> int:
        order = self._channel.receive()
        if not isinstance(order, Load):
            return 1
        app = load(order.app)
        given = order.given
        settings = app.settings.replace(**given) if given else app.settings
        app.configure(settings)
        prepare(settings)
        self._channel.send(Loaded(settings_to_dict(settings)))
        begin = self._channel.receive()
        if not isinstance(begin, Begin):
            return 1
        options = RunnerOptions.from_dict(begin.options)
        lease = _SupervisedLease(self._channel, self._board_fd)
        runner = TaskRunner(
            begin.runner_id,
            app.service,
            options,
            app.registry,
            lease=lease,
            origin=Origin(order.app, self._isolated),
        )
        runner.on_exhausted = lambda: self._replace(runner)
        threading.Thread(target=self._start, args=(runner,), name="mqtasks-start").start()
        self._obey(runner)
        if self._error is not None:
            raise self._error
        app.close()
        self._channel.send(Stopped())
        return 0

    def _start(self, runner: TaskRunner) -> None:
        try:
            runner.start()
        except Exception as error:  # noqa: BLE001 - raised again by the main thread
            if not self._done:
                self._error, self._done = error, True
                self._channel.stop_receiving()

    def _obey(self, runner: TaskRunner) -> None:
        """Return when the runner has stopped."""
        while (message := self._channel.receive()) is not None:
            if isinstance(message, Stop):
                threading.Thread(
                    target=self._stop, args=(runner, message.timeout), name="mqtasks-stop"
                ).start()
        if not self._done:
            _log.error("the supervisor is gone; runner %s hands its tasks back", runner.runner_id)
            threading.Thread(target=runner.stop, args=(0.0,), daemon=True).start()
            runner.wait_stopped(_LAST_WORDS)
            os._exit(1)

    def _replace(self, runner: TaskRunner) -> None:
        """End this process in order; the supervisor starts another. From any thread."""
        if not self._replaced:
            self._replaced = True
            self._channel.send(Broken("", _LOST))
            threading.Thread(target=self._stop, args=(runner, None), name="mqtasks-stop").start()

    def _stop(self, runner: TaskRunner, timeout: float | None) -> None:
        runner.stop(timeout)
        self._done = True
        self._channel.stop_receiving()


class _SupervisedLease:
    """The supervisor keeps the lease."""

    def __init__(self, channel: Channel, board_fd: int) -> None:
        self._channel = channel
        self._board_fd = board_fd

    def board(self, parallelism: int) -> Board:  # noqa: ARG002 - the supervisor has sized it
        return Board.attach(self._board_fd)

    def start(self, record: RunnerRecord, board: Board) -> None:  # noqa: ARG002 - both know it
        self._channel.send(Registered(record))

    def stop(self) -> None:
        pass


if __name__ == "__main__":
    sys.exit(main())
