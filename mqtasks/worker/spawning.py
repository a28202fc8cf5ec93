"""Starting Python processes of our own: same interpreter, same mqtasks, no secrets in argv."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mqtasks.errors import ConfigError

_HOME = str(Path(__file__).parents[2])


def can_spawn() -> bool:
    """Return whether the interpreter knows how to start another of itself."""
    return bool(sys.executable)


def spawn_module(
    module: str, fds: Sequence[int], *, detached: bool = False
) -> subprocess.Popen[bytes]:
    """Start ``python -m module fd...``; it inherits ``fds``.

    ``detached`` puts it into a session of its own, out of reach of the terminal's signals.
    """
    if not can_spawn():
        raise ConfigError("sys.executable is empty, so no process of its own can be started")
    environment = dict(os.environ)
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    if _HOME not in paths:  # also where mqtasks was found by a changed sys.path only
        environment["PYTHONPATH"] = os.pathsep.join([*filter(None, paths), _HOME])
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", module, *map(str, fds)],
        stdin=subprocess.DEVNULL,
        pass_fds=fds,
        env=environment,
        start_new_session=detached,
    )
