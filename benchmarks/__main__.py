"""``python -m benchmarks``: run one measurement; a line for people, then JSON."""

from __future__ import annotations

import json
from typing import Any, Protocol

import click

from benchmarks import backlog, drain, enqueue, fairness, latency


class _Benchmark(Protocol):
    def run(self, **options: Any) -> dict[str, Any]: ...

    def line(self, result: dict[str, Any]) -> str: ...


_STORAGES = click.Choice(("mysql", "sqlite"))


@click.group(invoke_without_command=True)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Measure mqtasks on private servers and real processes."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@cli.command("drain")
@click.option("--storage", type=_STORAGES, default="mysql", show_default=True)
@click.option("--tasks", type=click.IntRange(min=2), default=60_000, show_default=True)
@click.option("--parallelism", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--max-wait",
    type=click.IntRange(min=0),
    default=4_000,
    show_default=True,
    help="Tasks that may wait at a runner; the setting's own default is 256.",
)
@click.option("--kind", type=click.Choice(("thread", "async")), default="thread")
@click.option("--redis/--no-redis", default=True)
def drain_command(**options: Any) -> None:
    """Execute preloaded no-op tasks, each once."""
    _show(drain, options)


@cli.command("enqueue")
@click.option("--storage", type=_STORAGES, default="mysql", show_default=True)
@click.option("--tasks", type=click.IntRange(min=1), default=1_000, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=60_000, show_default=True)
def enqueue_command(**options: Any) -> None:
    """Create tasks one by one, against a bare driver loop, and in batches."""
    _show(enqueue, options)


@cli.command("latency")
@click.option("--storage", type=_STORAGES, default="mysql", show_default=True)
@click.option("--tasks", type=click.IntRange(min=1), default=500, show_default=True)
@click.option("--redis/--no-redis", default=True)
def latency_command(**options: Any) -> None:
    """From create to the executor, all idle."""
    _show(latency, options)


@cli.command("backlog")
@click.option("--backlog", "backlog", type=click.IntRange(min=4), default=1_000_000)
@click.option("--tasks", type=click.IntRange(min=1), default=200, show_default=True)
def backlog_command(**options: Any) -> None:
    """One good task behind many that cannot be placed, against an empty table."""
    _show(backlog, options)


@cli.command("fairness")
@click.option("--storage", type=_STORAGES, default="mysql", show_default=True)
@click.option("--backlog", type=click.IntRange(min=1), default=100_000, show_default=True)
@click.option("--tasks", type=click.IntRange(min=10), default=300, show_default=True)
@click.option("--parallelism", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--keys/--no-keys", default=False, help="A lane for each task of the backlog.")
def fairness_command(**options: Any) -> None:
    """A tenant's tasks beside 100,000 of another, against alone."""
    _show(fairness, options)


def _show(benchmark: Any, options: dict[str, Any]) -> None:
    measured: _Benchmark = benchmark
    result = measured.run(**options)
    click.echo(measured.line(result), err=True)
    click.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    cli()
