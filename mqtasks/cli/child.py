"""``python -m mqtasks.cli.child``: a runner process that imports and logs as the command does."""

from __future__ import annotations

import sys

from mqtasks.app import MQTasks
from mqtasks.cli.apps import load_worker_app
from mqtasks.cli.session import log_as
from mqtasks.config import Settings
from mqtasks.worker.child import main


def prepare(settings: Settings) -> None:
    """Log as the settings say."""
    log_as(settings, chatty=True)


def run() -> int:
    """Run the process; it also brings in the cron tasks that the app declares."""
    apps: list[MQTasks] = []

    def load(name: str) -> MQTasks:
        apps.append(load_worker_app(name))
        return apps[-1]

    def start(settings: Settings) -> None:
        prepare(settings)
        for app in apps:
            app.crons.sync_at_start()

    return main(load, start, "mqtasks.cli.isolated")


if __name__ == "__main__":
    sys.exit(run())
