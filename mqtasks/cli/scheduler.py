"""``mqtasks scheduler``: allocate tasks to workers, until told to stop."""

from __future__ import annotations

import click

from mqtasks.cli.exits import ExitCode
from mqtasks.cli.options import global_options, option, setting
from mqtasks.cli.origins import log_places, places
from mqtasks.cli.session import open_runtime


@click.command
@option("--check", is_flag=True, help="Check settings, database and schema, and exit.")
@setting("--leader-ttl", "Seconds until a silent leader is replaced.", metavar="SECONDS")
@setting("--heartbeat-timeout", "Seconds until a silent runner is lost.", metavar="SECONDS")
@setting("--retention-success", "Seconds to keep tasks that succeeded.", metavar="SECONDS")
@setting("--retention-failure", "Seconds to keep tasks that failed.", metavar="SECONDS")
@global_options(hidden=True)
def scheduler(*, check: bool) -> int:
    """Allocate tasks to workers.

    It also takes tasks from dead workers, triggers cron tasks and deletes what is past its
    retention. Start at least two: one leads, the others stand by. The first TERM or INT resigns.
    """
    from mqtasks.cli.serve import serve
    from mqtasks.scheduler import Scheduler, SchedulerOptions

    with open_runtime(create=not check, chatty=True) as runtime:
        settings = runtime.settings
        member = Scheduler(runtime.service, SchedulerOptions.from_settings(settings))
        if check:
            click.echo("\n".join(("settings, database and schema are fine", *places(settings))))
            return ExitCode.OK
        log_places(settings)
        return serve("scheduler", member.start, member.stop, lambda: member.stop(timeout=0.0))
