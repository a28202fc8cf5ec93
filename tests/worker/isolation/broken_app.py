"""Tasks whose module misbehaves where it is imported by a process for isolated tasks."""

from __future__ import annotations

import os
import signal
import sys
import threading

from mqtasks import MQTasks

app = MQTasks()

if sys.argv and sys.argv[0].endswith("isolation/child.py"):
    match os.environ.get("BROKEN_APP"):
        case "raises":
            raise RuntimeError("there is no licence on this host")
        case "hangs":
            threading.Event().wait()
        case "dies":
            os._exit(7)
        case "is killed":
            os.kill(os.getpid(), signal.SIGKILL)


@app.task(isolation="process")
def fine() -> None:
    pass
