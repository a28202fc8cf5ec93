"""MySQL URLs: what they may look like, and how they are shown without the password."""

from __future__ import annotations

from ssl import CERT_NONE, SSLContext, create_default_context
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from mqtasks.config.mask import mask_url
from mqtasks.errors import ConfigError

_FORM: Final = "mysql://user:password@host:3306/database"
_SCHEMES: Final = frozenset({"mysql", "mariadb"})
_SSL_MODES: Final = ("off", "require", "verify")
# Matches too much rather than too little: a password with a stray "/" or "#" must not show.


class MySQLAddress(msgspec.Struct, frozen=True):
    """A parsed URL. Its repr hides the password.

    Options behind ``?``: ``unix_socket`` (path, instead of host and port), ``ssl`` (off, require:
    encrypted, verify: also the server's certificate and name are checked), ``ssl_ca`` (path of a
    CA file; implies verify), ``connect_timeout`` and ``read_timeout`` (seconds).
    """

    user: str
    password: str
    database: str
    host: str = "127.0.0.1"
    port: int = 3306
    unix_socket: str = ""
    ssl: str = "off"
    ssl_ca: str = ""
    connect_timeout: float = 5.0
    read_timeout: float = 30.0

    @property
    def shown(self) -> str:
        """The URL without its password, for messages."""
        secret = ":***" if self.password else ""
        place = self.unix_socket or f"{self.host}:{self.port}"
        return f"mysql://{self.user}{secret}@{place}/{self.database}"

    def __repr__(self) -> str:
        return f"MySQLAddress({self.shown!r})"

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``pymysql.connect`` that say where and as whom."""
        arguments: dict[str, Any] = {
            "user": self.user,
            "password": self.password,
            "database": self.database,
            "connect_timeout": self.connect_timeout,
            "read_timeout": self.read_timeout,
            "write_timeout": self.read_timeout,
        }
        if self.unix_socket:
            arguments["unix_socket"] = self.unix_socket
        else:
            arguments |= {"host": self.host, "port": self.port}
        if self.ssl != "off":
            arguments["ssl"] = self._ssl_context()
        return arguments

    def _ssl_context(self) -> SSLContext:
        try:
            context = create_default_context(cafile=self.ssl_ca or None)
        except OSError as error:
            raise ConfigError(f"ssl_ca={self.ssl_ca!r} cannot be read: {error}") from error
        if self.ssl == "require":
            context.check_hostname = False
            context.verify_mode = CERT_NONE
        return context


def parse_address(url: str) -> MySQLAddress:
    """Parse a URL; raises ConfigError naming the part that is wrong."""
    shown = mask_url(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        wrong = "the port is no number" if "port" in str(error).lower() else "it is malformed"
        raise ConfigError(
            f"url={shown!r}: {wrong}; write {_FORM}, and percent-encode @ : / # ? % [ ]"
            " in user and password"
        ) from None
    if parts.scheme not in _SCHEMES:
        raise ConfigError(f"url={shown!r}: expected {_FORM}")
    database = unquote(parts.path.lstrip("/"))
    if not database or "/" in database:
        raise ConfigError(f"url={shown!r}: name one database, as in {_FORM}")
    return MySQLAddress(
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=database,
        host=parts.hostname or "127.0.0.1",
        port=port or 3306,
        **_options(parts.query, shown),
    )


def address_url(user: str, password: str, address: str, database: str) -> str:
    """Return the URL of a database on ``address`` (``host``, ``host:port`` or a socket's path)."""
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    name = quote(database, safe="")
    if address.startswith("/"):
        return f"mysql://{login}@localhost/{name}?unix_socket={quote(address, safe='')}"
    return f"mysql://{login}@{address}/{name}"


def _options(query: str, shown: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in {"unix_socket", "ssl_ca"}:
            options[name] = value
        elif name in {"connect_timeout", "read_timeout"}:
            options[name] = _seconds(name, value, shown)
        elif name == "ssl":
            if value not in _SSL_MODES:
                raise ConfigError(f"url={shown!r}: ssl={value!r} must be {', '.join(_SSL_MODES)}")
            options[name] = value
        else:
            raise ConfigError(
                f"url={shown!r}: unknown option {name!r}; known are unix_socket, ssl, ssl_ca,"
                " connect_timeout and read_timeout"
            )
    if options.get("ssl_ca"):
        options.setdefault("ssl", "verify")
    return options


def _seconds(name: str, value: str, shown: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 3600:  # noqa: PLR2004 - the driver takes no less than 1
        raise ConfigError(f"url={shown!r}: {name}={value!r} must be 1 to 3600 seconds")
    return seconds
