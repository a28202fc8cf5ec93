"""``manage.py mqtasks …``: the mqtasks program, for this Django project."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mqtasks.errors import MQTasksError
from mqtasks.integrations.django.command import command_line


class Command(BaseCommand):  # type: ignore[misc]
    """Runs the program in place of this process; as `call_command`, beside it."""

    help = "Run the mqtasks program with this project's settings: worker, scheduler, tasks list, …"
    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Take anything."""
        parser.add_argument("arguments", nargs=argparse.REMAINDER, help="see: mqtasks --help")

    def run_from_argv(self, argv: list[str]) -> None:
        """Become the program. Options of manage.py itself stand in front of its arguments."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--settings")
        parser.add_argument("--pythonpath")
        own, rest = parser.parse_known_args(argv[2:])
        script = Path(argv[0]).resolve()
        # `python -m django` is a file of Django's package, whose modules are not to be found bare.
        project = None if script.name == "__main__.py" else str(script.parent)
        folders = [own.pythonpath, project]
        try:
            command, environment = command_line(rest, [folder for folder in folders if folder])
        except MQTasksError as error:
            self.stderr.write(f"mqtasks: {error}")
            sys.exit(2)
        sys.stdout.flush()
        os.execve(command[0], command, environment)  # noqa: S606 - our own interpreter

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run the program and wait for it. Raises CommandError if it fails."""
        command, environment = command_line(options["arguments"], sys.path)
        ended = subprocess.run(command, env=environment, check=False)  # noqa: S603 - as above
        if ended.returncode:
            raise CommandError("mqtasks failed", returncode=ended.returncode)
