"""``mqtasks demo``: real work, checked against a direct computation."""

from __future__ import annotations

from pathlib import Path

import click

from mqtasks.cli.exits import ExitCode, Failed
from mqtasks.cli.options import global_options, option


@click.command
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False))
@option(
    "--servers",
    is_flag=True,
    help="On a private MariaDB and Redis, with two schedulers and two workers; one worker and"
    " the leading scheduler are killed half-way.",
)
@global_options(hidden=True)
def demo(*, folder: str | None, servers: bool) -> int:
    """Watch the main job on real input.

    Parses every Python file of FOLDER (or of the standard library), one task each, adds up their
    figures, and compares the sums with a direct computation. Nothing but a temporary folder is
    written. Exits with 1 if anything is lost, doubled or different.
    """
    from mqtasks.cli.session import load_settings
    from mqtasks.demo.figures import source_files, standard_library
    from mqtasks.demo.run import Demo
    from mqtasks.demo.verdict import verdict
    from mqtasks.demo.watch import display

    load_settings()
    root = standard_library() if folder is None else Path(folder)
    files = source_files(root)
    if not files:
        raise Failed(f"folder={str(root)!r}: there is no Python file in it; name another folder")
    if servers:
        from mqtasks.demo.servers import fleet as stage
    else:
        from mqtasks.demo.stages import embedded as stage
    with display() as shown:
        shown.say(f"source files: {len(files):,} in {root}")
        with stage() as place:
            shown.say(f"stage: {place.title}")
            outcome = Demo(place, shown, files).run()
    for line in verdict(outcome):
        click.echo(line)
    return ExitCode.OK if outcome.right else ExitCode.FAILURE
