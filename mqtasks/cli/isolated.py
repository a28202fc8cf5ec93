"""``python -m mqtasks.cli.isolated``: a process for isolated tasks, logging as the command."""

from __future__ import annotations

import sys

from mqtasks.cli.apps import load_worker_app
from mqtasks.cli.child import prepare
from mqtasks.worker.isolation.child import main

if __name__ == "__main__":
    sys.exit(main(load_worker_app, prepare))
