"""``python -m mqtasks.cli.child``: a runner process that imports and logs as the command does."""

from __future__ import annotations

import sys

from mqtasks.cli.apps import load_worker_app
from mqtasks.cli.session import log_as
from mqtasks.config import Settings
from mqtasks.worker.child import main


def prepare(settings: Settings) -> None:
    """Log as the settings say."""
    log_as(settings, chatty=True)


if __name__ == "__main__":
    sys.exit(main(load_worker_app, prepare, "mqtasks.cli.isolated"))
