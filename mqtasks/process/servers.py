"""Private MariaDB and Redis servers, for ``mqtasks demo --servers``, tests and benchmarks.

Each listens on 127.0.0.1 only, keeps everything in one folder, and ends with the process that
started it. Nothing here serves production.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mqtasks.process.private import PrivateServer, ServerFailed, find_program

if TYPE_CHECKING:
    from pymysql.connections import Connection

_USER = "mqtasks"
_REDO_LOG = "--innodb-log-file-size=64M"  # the template and the servers must agree on it


class MariaDBServer(PrivateServer):
    """A private MariaDB with durable commits (each commit reaches the disk before it returns).

    `user` and `password` may create databases. The password is random, and kept in the data
    folder so that a second server started on the same data accepts it.
    """

    name = "mariadb"

    def __init__(
        self,
        datadir: Path | None = None,
        port: int | None = None,
        *,
        folder: Path | None = None,
        options: Sequence[str] = (),
        detach: bool = False,
    ) -> None:
        self._options = tuple(options)
        self._datadir = datadir
        self.user = _USER
        self.password = ""
        super().__init__(port, folder, detach=detach)

    @classmethod
    def start(
        cls,
        datadir: Path | None = None,
        port: int | None = None,
        *,
        folder: Path | None = None,
        options: Sequence[str] = (),
        detach: bool = False,
    ) -> Self:
        """Start a server and return when it answers, about half a second later.

        Args:
            datadir: Data folder to use; filled from a fresh installation if it is missing. None
                puts it into `folder`. The data folder of a server that has ended, or was
                killed, may be given to the next.
            port: TCP port; None takes a free one.
            folder: Where log and data go; None makes a temporary folder, deleted by `close`.
            options: Further command line options of mariadbd; they win over the built-in ones.
            detach: Let the server outlive this process; otherwise it dies with it.

        Raises:
            ConfigError: MariaDB is not installed.
            ServerFailed: it did not start; the message ends with its log.
        """
        return cls(datadir, port, folder=folder, options=options, detach=detach)

    @property
    def datadir(self) -> Path:
        """The data folder."""
        return self._datadir or self.folder / "data"

    def command(self) -> list[str]:
        """Return the command line; fills the data folder when it is missing."""
        program = find_program("mariadbd", "mariadb-server")
        if not self.datadir.exists():
            shutil.copytree(_template(), self.datadir)
        self.password = _password(self.datadir)
        return [
            program,
            "--no-defaults",
            f"--datadir={self.datadir}",
            f"--init-file={self._write_init_file()}",
            *_as_root(),
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            "--socket=server.sock",  # relative to datadir: a longer path may not fit a socket
            "--pid-file=server.pid",
            f"--tmpdir={self.folder}",  # one that starts deletes temporary tables in its tmpdir
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-buffer-pool-size=128M",
            _REDO_LOG,
            "--max-connections=400",
            *self._options,
        ]

    def _write_init_file(self) -> Path:
        """Write what the server executes before it accepts clients; good for every start."""
        path = self.folder / "init.sql"
        path.touch(mode=0o600)
        statements = (
            f"CREATE USER IF NOT EXISTS '{self.user}'@'{host}' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO '{self.user}'@'{host}' WITH GRANT OPTION;\n"
            for host in ("127.0.0.1", "localhost")
        )
        path.write_text("".join(statements), encoding="ascii")
        return path

    def ready(self) -> bool:
        """Whether the server accepts a login now; no other server accepts this password."""
        import pymysql

        with contextlib.suppress(pymysql.err.OperationalError):
            self.client().close()
            return True
        return False

    def url(self, database: str = "") -> str:
        """Return the storage URL of `database` on this server, password included."""
        return f"mysql://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def client(self, database: str | None = None, **options: Any) -> Connection[Any]:
        """Return a new autocommit connection; `options` go to ``pymysql.connect``."""
        import pymysql

        settings: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "database": database,
            "charset": "utf8mb4",
            "connect_timeout": 5,
            "autocommit": True,
        }
        return pymysql.connect(**(settings | options))

    def create_database(self, name: str) -> str:
        """Create the empty database `name`, dropping an older one, and return its URL."""
        with contextlib.closing(self.client()) as client, client.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")
            cursor.execute(f"CREATE DATABASE `{name}`")
        return self.url(name)


class RedisServer(PrivateServer):
    """A private Redis without persistence: a restart or a kill forgets every key."""

    name = "redis"

    @classmethod
    def start(
        cls, port: int | None = None, *, folder: Path | None = None, detach: bool = False
    ) -> Self:
        """Start a server and return when it answers.

        Args:
            port: TCP port; None takes a free one.
            folder: Where the log goes; None makes a temporary folder, deleted by `close`.
            detach: Let the server outlive this process; otherwise it dies with it.

        Raises:
            ConfigError: Redis is not installed.
            ServerFailed: it did not start; the message ends with its log.
        """
        return cls(port, folder, detach=detach)

    def command(self) -> list[str]:
        """Return the command line."""
        return [
            find_program("redis-server", "redis-server"),
            "--bind 127.0.0.1",
            f"--port {self.port}",
            f"--dir {self.folder}",
            "--daemonize no",
            "--save",
            "",
            "--appendonly no",
        ]

    def ready(self) -> bool:
        """Whether this server, and not another one on the same port, answers now."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe,
            probe.makefile("rwb") as stream,
        ):
            stream.write(b"INFO server\r\nQUIT\r\n")
            stream.flush()
            return b"process_id:%d\r\n" % self.pid in stream.read()
        return False

    def url(self, database: int = 0) -> str:
        """Return the URL of the numbered `database` (0 to 15)."""
        return f"redis://127.0.0.1:{self.port}/{database}"


@functools.cache
def _template() -> Path:
    """Make a fresh data folder, once per process; servers copy it, which is much faster."""
    installer = find_program("mariadb-install-db", "mariadb-server")
    folder = Path(tempfile.mkdtemp(prefix="mqtasks-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    datadir = folder / "data"
    result = subprocess.run(
        [
            installer,
            "--no-defaults",
            f"--datadir={datadir}",
            f"--tmpdir={folder}",
            *_as_root(),
            "--skip-test-db",
            _REDO_LOG,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise ServerFailed(
            f"{installer} failed with exit code {result.returncode}:\n"
            f"{result.stdout[-2000:]}{result.stderr[-2000:]}"
        )
    return datadir


def _password(datadir: Path) -> str:
    """Return the password that belongs to a data folder; make it up the first time."""
    path = datadir / "mqtasks-password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(12), encoding="ascii")
    return path.read_text(encoding="ascii")


def _as_root() -> list[str]:
    """MariaDB refuses to run as root unless it is told so."""
    return ["--user=root"] if os.geteuid() == 0 else []
