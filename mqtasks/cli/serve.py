"""Running until told to stop: the three signal stages around anything that starts and stops."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from mqtasks.cli.exits import ExitCode


def serve(
    name: str,
    start: Callable[[], object],
    stop: Callable[[], object],
    hurry: Callable[[], object],
) -> ExitCode:
    """Call ``start``, and ``stop`` on the first TERM or INT; return when it has returned.

    A second signal calls ``hurry``, which makes ``stop`` return soon; a third ends the process
    with 1. SIGUSR1 prints the stack of every thread. Main thread only.
    """
    from mqtasks.process.signals import StopStages, dump_stacks_on_signal

    stopped = threading.Event()

    def graceful() -> None:
        try:
            stop()
        finally:
            stopped.set()

    dump_stacks_on_signal()
    with StopStages(graceful, hurry, lambda: os._exit(ExitCode.FAILURE), name=name):
        try:
            start()
        except BaseException:
            stop()  # what did start
            raise
        stopped.wait()
    return ExitCode.OK
