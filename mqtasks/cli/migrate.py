"""``mqtasks migrate``: the schema of the database."""

from __future__ import annotations

import click

from mqtasks.cli.lazy import LazyGroup
from mqtasks.cli.options import global_options, option
from mqtasks.cli.output import output_option, print_rows, print_written
from mqtasks.cli.session import open_runtime

_COLUMNS = ("version", "name", "applied_at")


@click.group(cls=LazyGroup)
def migrate() -> None:
    """Create and update the schema."""


@migrate.command("up")
@output_option
@global_options(hidden=True)
def up(*, output: str) -> None:
    """Apply what is missing. Safe to run twice, at once, and again after a crash."""
    from mqtasks.storage import migrate as steps

    with open_runtime(check_schema=False) as runtime:
        applied = steps.up(runtime.storage)
    rows = [{"version": step.version, "name": step.name} for step in applied]
    print_written(rows, output, lambda row: f"applied {row['version']:04d}_{row['name']}")
    if not rows:
        click.echo("the schema is up to date", err=True)


@migrate.command("status")
@output_option
@global_options(hidden=True)
def status(*, output: str) -> None:
    """List migrations; exit with 5 unless this release can work with the schema."""
    from mqtasks.storage import migrate as steps

    with open_runtime(check_schema=False) as runtime:
        rows = [
            {"version": step.version, "name": step.name, "applied_at": step.applied_at}
            for step in steps.status(runtime.storage)
        ]
        print_rows(rows, _COLUMNS, output, "this storage has no schema")
        runtime.storage.check_schema()


@migrate.command("sql")
@option(
    "--dialect",
    type=click.Choice(("mysql", "sqlite")),
    help="Print all migrations for it, without connecting anywhere.",
)
@global_options(hidden=True)
def sql(*, dialect: str | None) -> None:
    """Print the SQL that `up` would run, for whoever wants to read or run it by hand."""
    from mqtasks.storage import migrate as steps

    if dialect is None:
        with open_runtime(check_schema=False) as runtime:
            applied = frozenset(
                step.version for step in steps.status(runtime.storage) if step.applied_at
            )
            text = steps.pending_sql(runtime.storage.capabilities.name, applied)
    else:
        text = steps.pending_sql(dialect)
    click.echo(text, nl=not text.endswith("\n") and text != "")
