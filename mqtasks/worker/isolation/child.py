"""``python -m mqtasks.worker.isolation.child``: a process that executes isolated tasks, one by one.

It inherits a socket, a file for its stacks, and one that tells for which cause it may be broken
off. Tasks run in the main thread, which signals reach. This process never outlives its runner.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from types import FrameType
from typing import Any, Final

from mqtasks.config import Settings
from mqtasks.errors import TaskAborted
from mqtasks.process.forks import handle_here
from mqtasks.worker.apps import load_app, log_to_stderr
from mqtasks.worker.cancel import Canceller
from mqtasks.worker.describe import capped, error_text
from mqtasks.worker.held import Held
from mqtasks.worker.isolation.frames import GiveUp, Noted, Prepare, Ready, Run, Unfit
from mqtasks.worker.isolation.memory import go_first
from mqtasks.worker.isolation.wire import ChildWire
from mqtasks.worker.isolation.workplace import Workplace
from mqtasks.worker.parent import die_with_parent

_LAST_WORDS: Final = 5.0
"""Seconds that user code gets to end (atexit, threads) when the process is needed no more."""
_LONGEST_ORDER: Final = 256


def main(
    load: Callable[[str], Any] | None = None,
    prepare: Callable[[Settings], object] | None = None,
) -> int:
    """Execute tasks until the runner is gone or wants no more; return the exit code.

    ``load(name)`` imports the app, ``prepare(settings)`` sets up logging.
    """
    fd, dumps, orders = fds = [int(argument) for argument in sys.argv[1:4]]
    for inherited in fds:  # they are no business of programs that tasks start
        fcntl.fcntl(inherited, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    die_with_parent(os.getppid())
    go_first()
    _write_stacks_to(dumps)
    return _Child(ChildWire(fd), orders).run(load or load_app, prepare or log_to_stderr)


class _Child:
    def __init__(self, wire: ChildWire, orders: int) -> None:
        self._wire = wire
        self._orders = orders
        self._inbox: SimpleQueue[Run | None] = SimpleQueue()
        self._noted = threading.Event()
        self._canceller = Canceller(self._throw)
        self._place: Workplace | None = None

    def run(self, load: Callable[[str], Any], prepare: Callable[[Settings], object]) -> int:
        order = self._wire.receive()
        if not isinstance(order, Prepare):
            return 1
        # A handler rather than SIG_IGN, which programs started by user code would inherit.
        handle_here(signal.SIGINT, lambda _number, _frame: None)
        handle_here(signal.SIGTERM, self._break_off)
        try:
            place = Workplace(
                self._wire,
                order,
                noted=self._noted,
                canceller=self._canceller,
                load=load,
                prepare=prepare,
            )
        except BaseException as error:  # noqa: BLE001 - user code is imported here
            trace = capped("".join(traceback.format_exception(error)))
            self._wire.send(Unfit(error_text(error), trace))
            return 1
        self._place = place
        threading.Thread(target=self._listen, name="mqtasks-runner", daemon=True).start()
        self._wire.send(Ready())
        while (run := self._inbox.get()) is not None:
            place.execute(run)
        place.close()
        return 0

    def _listen(self) -> None:
        """Take what the runner says, while the main thread executes."""
        while (message := self._wire.receive()) is not None:
            place = self._place
            held = place.held if place is not None else None
            match message:
                case Run():
                    self._inbox.put(message)
                case GiveUp(reason) if held is not None:
                    self._canceller.cancel(held, reason)
                case Noted():
                    self._noted.set()
        place = self._place
        if place is not None and place.held is not None:
            os._exit(1)  # the runner is gone, and with it the lease
        self._inbox.put(None)
        threading.Event().wait(_LAST_WORDS)
        os._exit(0)

    def _throw(self, held: Held) -> None:
        if self._place is not None:
            self._place.throw(held)

    def _break_off(self, _number: int, _frame: FrameType | None) -> None:
        # Others send this signal too, such as service managers at a shutdown; the runner says so.
        place = self._place
        held = place.held if place is not None else None
        if held is None:
            return
        try:
            reason = os.pread(self._orders, _LONGEST_ORDER, 0).decode()
        except OSError:
            return  # user code has closed it
        guard = held.guard
        if not reason or guard is None or guard.owner is not held:
            return
        self._canceller.cancel(held, reason)  # the thread that listens may not have come to it
        raise TaskAborted(reason)


def _write_stacks_to(fd: int) -> None:
    """Let a fatal signal, and SIGUSR1, write the stacks of all threads, whatever they do."""
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    faulthandler.enable(fd, all_threads=True)
    with suppress(AttributeError):  # no such signal here
        faulthandler.register(signal.SIGUSR1, fd, all_threads=True, chain=False)


if __name__ == "__main__":
    sys.exit(main())
