"""``mqtasks dev``: everything in one process, for development."""

from __future__ import annotations

import click

from mqtasks.cli.options import global_options, setting
from mqtasks.cli.origins import log_places
from mqtasks.cli.session import open_runtime


@click.command
@click.argument("app", metavar="MODULE:APP")
@setting("--parallelism", "Tasks executed at once.", metavar="N")
@setting("--log-context", "Name the task in each line it logs: none or task.", metavar="WHAT")
@global_options(hidden=True)
def dev(*, app: str) -> int:
    """Run everything in one process, on SQLite.

    A scheduler and a worker for the tasks of MODULE:APP, on mqtasks.db in the working folder unless
    --url names another storage. The schema is created or updated first. For one developer: in
    production run mqtasks scheduler and mqtasks worker.
    """
    from mqtasks.cli.apps import load_app
    from mqtasks.cli.serve import serve
    from mqtasks.process.identity import default_runner_id
    from mqtasks.scheduler import Scheduler, SchedulerOptions
    from mqtasks.storage import migrate
    from mqtasks.worker import RunnerOptions, TaskRunner
    from mqtasks.worker.isolation.origin import Origin

    loaded = load_app(app)
    with open_runtime(loaded, check_schema=False, chatty=True) as runtime:
        migrate.up(runtime.storage)
        settings, service = runtime.settings, runtime.service
        log_places(settings)
        scheduler = Scheduler(service, SchedulerOptions.from_settings(settings))
        runner = TaskRunner(
            default_runner_id(),
            service,
            RunnerOptions.from_settings(settings),
            loaded.registry,
            origin=Origin(app, "mqtasks.cli.isolated"),
        )

        def start() -> None:
            loaded.crons.sync_at_start()
            scheduler.start()
            runner.start()

        def stop() -> None:
            runner.stop()
            scheduler.stop()

        try:
            return serve("dev", start, stop, lambda: runner.stop(0.0))
        finally:
            loaded.close()
