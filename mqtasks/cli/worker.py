"""``mqtasks worker``: run the tasks of an app, until told to stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mqtasks.cli.exits import ExitCode
from mqtasks.cli.options import given_settings, global_options, option, setting
from mqtasks.cli.origins import log_places, places, warn_of_unused_variables
from mqtasks.cli.session import load_settings, log_as, open_runtime

if TYPE_CHECKING:
    from mqtasks.runtime import Runtime
    from mqtasks.worker.supervisor import Companion


@click.command
@click.argument("app", metavar="MODULE:APP")
@option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="Runners.")
@setting("--parallelism", "Tasks each runner executes at once.", metavar="N")
@setting("--max-wait", "Tasks that may wait at a runner.", name="max_wait_tasks", metavar="N")
@setting("--labels", "What tasks may ask for: gpu=yes,zone=a.", metavar="KEY=VALUE,...")
@setting("--cpu", "Cores offered to tasks that reserve some.", metavar="CORES")
@setting("--memory", "Memory offered to tasks that reserve some: 8GiB.", metavar="BYTES")
@setting(
    "--resource",
    "Named amounts offered to tasks that reserve some: gpu=2,licence=1.",
    name="resources",
    metavar="NAME=AMOUNT,...",
)
@setting("--isolated-memory", "Most memory of a process for isolated tasks: 2GiB.", metavar="BYTES")
@setting("--isolated-tasks", "Isolated tasks in a process before it is replaced.", metavar="N")
@setting("--shutdown-timeout", "How long running tasks may go on after a stop.", metavar="SECONDS")
@setting("--log-context", "Name the task in each line it logs: none or task.", metavar="WHAT")
@option("--runner-id", metavar="ID", help="Unique name; -1, -2 ... is appended to several.")
@option("--with-scheduler", is_flag=True, help="Also schedule; among several, one leads.")
@option("--check", is_flag=True, help="Check settings, app, database and schema, and exit.")
@global_options(hidden=True)
def worker(
    *, app: str, processes: int, runner_id: str | None, with_scheduler: bool, check: bool
) -> int:
    """Run the tasks of an app.

    The processes import MODULE:APP; the one that starts them keeps their leases and runs no code of
    yours. The first TERM or INT lets running tasks finish, the second cancels them, the third ends
    everything at once.
    """
    if check:
        _check(app, processes, runner_id)
        return ExitCode.OK
    from mqtasks.process.signals import dump_stacks_on_signal
    from mqtasks.worker.supervisor import Supervisor

    def opened(runtime: Runtime) -> Sequence[Companion]:
        log_as(runtime.settings, chatty=True)  # now with what the app says of itself
        warn_of_unused_variables(runtime.settings)
        log_places(runtime.settings)
        if not with_scheduler:
            return []
        from mqtasks.scheduler import Scheduler, SchedulerOptions

        return [Scheduler(runtime.service, SchedulerOptions.from_settings(runtime.settings))]

    load_settings(chatty=True)
    dump_stacks_on_signal()
    supervisor = Supervisor(
        app,
        given_settings(),
        processes=processes,
        name=runner_id,
        opened=opened,
        child_module="mqtasks.cli.child",
    )
    return supervisor.run()


def _check(app: str, processes: int, runner_id: str | None) -> None:
    """Do all that can go wrong at a start, and print what would run."""
    from mqtasks.cli.apps import load_worker_app
    from mqtasks.model import executor_value
    from mqtasks.worker import RunnerOptions
    from mqtasks.worker.supervisor import runner_ids

    runner_ids(runner_id, processes)
    loaded = load_worker_app(app)
    codes = [str(executor_value(code)) for code in loaded.registry.codes()]
    with open_runtime(loaded) as runtime:
        RunnerOptions.from_settings(runtime.settings)
        where = places(runtime.settings)
    click.echo("\n".join(("settings, app, database and schema are fine", *where)))
    click.echo(f"executors: {', '.join(codes)}")
