"""What private servers have in common: a folder, a port, one guarded process, a life cycle."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from mqtasks.errors import ConfigError, MQTasksError
from mqtasks.process.guarded import GuardedProcess

_START_TIMEOUT = 60.0  # seconds; crash recovery of a large data folder is included
_POLL = 0.02  # seconds between two connection attempts while a server starts
_PORT_ATTEMPTS = 5  # another program may take a free port before the server binds it


class ServerFailed(MQTasksError):
    """A private server did not start; the message ends with the tail of its log."""


class PrivateServer(ABC):
    """A server program on 127.0.0.1 that keeps everything in one folder.

    A context manager: leaving it closes the server. `stop`, `kill` and `close` may be called
    twice.

    Args:
        port: TCP port; None takes a free one.
        folder: Where logs and data go. None makes a temporary folder, deleted by `close`; a
            folder that was given is kept.
        detach: Let the server outlive this process; otherwise it dies with it.

    Raises:
        ConfigError: the server program is not installed.
        ServerFailed: it did not start.
    """

    name = "server"

    def __init__(self, port: int | None, folder: Path | None, *, detach: bool) -> None:
        self._temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="mqtasks-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / f"{self.name}.log"
        self.port = free_port() if port is None else port
        self._detach = detach
        self._process: GuardedProcess | None = None
        if not detach:
            atexit.register(self.close)
        try:
            self._launch(_PORT_ATTEMPTS if port is None else 1)
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def command(self) -> list[str]:
        """Return the program and the arguments that start it on `port`."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the server answers a client now."""

    def _launch(self, attempts: int) -> None:
        process = GuardedProcess(self.command(), self.log, detach=self._detach)
        self._process = process
        if wait_for(self.ready, process):
            return
        port_taken = not process.running and "in use" in process.tail()
        process.kill()
        if port_taken and attempts > 1:
            self.port = free_port()
            self._launch(attempts - 1)
            return
        raise ServerFailed(
            f"{self.name} did not start on 127.0.0.1:{self.port}; the end of its log:\n"
            + process.tail()
        )

    @property
    def pid(self) -> int:
        """Process id of the server; it may have ended."""
        assert self._process is not None  # noqa: S101 - else __init__ raised
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server process has not ended."""
        return self._process is not None and self._process.running

    def stop(self, timeout: float = 20.0) -> None:
        """End the server in order; after `timeout` seconds kill it. Its data stays."""
        if self._process is not None:
            self._process.stop(timeout)

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would. Its data stays."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """Stop the server if it runs, and start it on the same port with what data it kept."""
        self.stop()
        self._launch(1)

    def close(self) -> None:
        """Stop the server and delete its folder if it is a temporary one."""
        self.stop()
        atexit.unregister(self.close)
        if self._temporary and (self._process is None or self._process.owned):
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Return the running server."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def wait_for(ready: Callable[[], bool], process: GuardedProcess) -> bool:
    """Wait until `ready()` is true; false when `process` has ended or takes too long."""
    for _ in range(int(_START_TIMEOUT / _POLL)):
        if process.wait(_POLL):
            return False
        if ready():
            return True
    return False


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def find_program(name: str, package: str) -> str:
    """Return the absolute path of a server program.

    Raises:
        ConfigError: it is not installed; the message names the command that installs it.
    """
    search = os.pathsep.join(
        [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"]
    )
    path = shutil.which(name, path=search)
    if path is None:
        raise ConfigError(
            f"{name} is not installed; on Debian or Ubuntu run:"
            f" apt-get install -y --no-install-recommends {package}"
        )
    return path
