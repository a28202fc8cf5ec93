"""A copy of the Django example with a database of its own, driven by programs of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MANAGE = ROOT / "examples" / "django_shop" / "manage.py"
_HEAD = """
import json, django
django.setup()
from django.test import Client
from shop.models import Order
from shop.tasks import app, count, ship, stubborn, thank
def say(value): print(json.dumps(value))
"""


class Site:
    """Programs run in ``folder``, against the SQLite file in it."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.database = folder / "shop.db"
        path = os.pathsep.join([str(ROOT), str(MANAGE.parent)])
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("MQTASKS_", "DJANGO_"))},
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "PYTHONPATH": path,
            "SHOP_DATABASE": str(self.database),
            **environment,
        }

    def run(self, code: str) -> Any:
        """Run a program after Django's setup; return what it last said."""
        answer = self._call([sys.executable, "-c", _HEAD + textwrap.dedent(code)])
        return json.loads(answer.splitlines()[-1])

    def manage(self, *arguments: str) -> str:
        """Run ``manage.py``; return what it printed."""
        return self._call([sys.executable, str(MANAGE), *arguments])

    def admin(self, *arguments: str) -> str:
        """Run ``django-admin``; return what it printed."""
        return self._call([sys.executable, "-m", "django", *arguments])

    def log(self) -> str:
        """Return what the worker has printed."""
        return (self.folder / "worker.log").read_text()

    def _call(self, command: list[str]) -> str:
        ran = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    @contextlib.contextmanager
    def worker(self, *options: str) -> Iterator[None]:
        """Run ``manage.py mqtasks worker --with-scheduler`` meanwhile; it must end well."""
        environment = {k: v for k, v in self.environment.items() if not k.startswith("DJANGO_")}
        environment["PYTHONPATH"] = str(ROOT)  # where the project is, manage.py knows itself
        with (self.folder / "worker.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(MANAGE), "mqtasks", "worker", "--with-scheduler", *options],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
            )
            try:
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                ended = process.wait(40)
        assert ended == 0, self.log()
