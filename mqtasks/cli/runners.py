"""``mqtasks runners``: who takes tasks."""

from __future__ import annotations

from collections import Counter

import click

from mqtasks.cli.exits import ExitCode, Failed
from mqtasks.cli.lazy import LazyGroup
from mqtasks.cli.options import global_options, option
from mqtasks.cli.output import output_option, print_rows
from mqtasks.cli.session import open_service

_COLUMNS = (
    "runner",
    "state",
    "alive",
    "tasks",
    "parallelism",
    "executors",
    "labels",
    "host",
    "pid",
)


@click.group(cls=LazyGroup)
def runners() -> None:
    """Show runners."""


@runners.command("list")
@option("--check", is_flag=True, help="Exit with 4 unless at least one runner is alive.")
@output_option
@global_options(hidden=True)
def list_runners(*, check: bool, output: str) -> None:
    """List runners, also those that stopped a short while ago."""
    from mqtasks.cli.rows import runner_row

    with open_service() as service:
        live: Counter[str] = Counter()
        for load in service.storage.live_load():
            live[load.runner_id] += load.count
        rows = [runner_row(runner, live) for runner in service.storage.runners()]
    print_rows(rows, _COLUMNS, output, "no runners")
    if check and not any(row["alive"] for row in rows):
        raise Failed(
            "no runner is alive: start one with mqtasks worker MODULE:APP", ExitCode.UNHEALTHY
        )
