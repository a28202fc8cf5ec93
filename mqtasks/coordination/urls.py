"""Coordination URLs: what they may look like, and how they are shown without their passwords."""

from __future__ import annotations

import re
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from mqtasks.config.mask import MASK, mask_url
from mqtasks.errors import ConfigError

Kind = Literal["single", "sentinel", "cluster"]

DEFAULT_PORT: Final = 6379
DEFAULT_SENTINEL_PORT: Final = 26379

_SCHEMES: Final[dict[str, tuple[Kind, str]]] = {
    "redis": ("single", "redis"),
    "rediss": ("single", "rediss"),
    "unix": ("single", "unix"),
    "redis+sentinel": ("sentinel", "redis"),
    "rediss+sentinel": ("sentinel", "rediss"),
    "redis+cluster": ("cluster", "redis"),
    "rediss+cluster": ("cluster", "rediss"),
}
_DATABASE: Final = re.compile(r"(?:/[0-9]*/?)?")
_FORMS: Final = (
    "redis://[user:password@]host:6379/0, rediss:// for TLS, unix:///path/to/socket,"
    " redis+sentinel://host:26379,host:26379/service/0 or redis+cluster://host:6379,host:6379"
    " (valkey in place of redis works, too)"
)


class RedisAddress(msgspec.Struct, frozen=True):
    """A parsed coordination URL. Its repr and `shown` hide every password."""

    kind: Kind
    client_url: str
    """What redis-py parses: credentials, database and options; the host only if ``single``."""
    hosts: tuple[tuple[str, int], ...]
    """Sentinels, or start nodes of a cluster; empty if ``single``."""
    service: str
    """Name of the primary that the sentinels watch."""
    shown: str

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.client_url.startswith("rediss://")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Passwords of the URL, raw and decoded, for `scrub`."""
        parts = urlsplit(self.client_url)
        raw = parts.netloc.rpartition("@")[0].partition(":")[2]
        options = [v for k, v in parse_qsl(parts.query) if "password" in k.lower()]
        return tuple(filter(None, {raw, unquote(raw), *options}))

    def scrub(self, text: str) -> str:
        """Return ``text`` without the passwords of this URL."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return text

    def __repr__(self) -> str:
        return f"RedisAddress({self.shown!r})"


def parse_redis_url(url: str) -> RedisAddress:
    """Parse a coordination URL.

    Raises ConfigError, with the password masked and the remedy, for an unknown scheme, a missing or
    malformed host, a database that is no number, or a missing sentinel service.
    """
    shown = mask_url(url)
    scheme, separator, rest = url.partition("://")
    kind, base = _SCHEMES.get(scheme.lower().replace("valkey", "redis", 1), ("single", ""))
    if not separator or not base:
        raise ConfigError(f"redis URL {shown!r} has no known scheme: use {_FORMS}")
    if kind == "single":
        client_url = f"{base}://{rest}"
        if base != "unix":
            _check_database(client_url, shown)
        return RedisAddress(kind, client_url, (), "", shown)
    authority, _, tail = rest.partition("/")
    if "?" in authority:
        authority, _, query = authority.partition("?")
        tail = f"?{query}"
    userinfo, at, listed = authority.rpartition("@")
    default_port = DEFAULT_SENTINEL_PORT if kind == "sentinel" else DEFAULT_PORT
    hosts = tuple(_host(item, default_port, shown) for item in listed.split(","))
    service = ""
    if kind == "sentinel":
        path, question, query = tail.partition("?")
        service, _, database = path.partition("/")
        tail = f"{database}{question}{query}"
        if not service:
            raise ConfigError(
                f"redis URL {shown!r} names no service: append the name that the sentinels watch,"
                " as in redis+sentinel://host:26379/mymaster"
            )
    client_url = f"{base}://{userinfo}{at}cluster/{tail}"
    _check_database(client_url, shown)
    return RedisAddress(kind, client_url, hosts, unquote(service), shown)


def _check_database(client_url: str, shown: str) -> None:
    """Refuse a database that is no number: redis-py would silently take number 0."""
    try:
        path = urlsplit(client_url).path
    except ValueError:
        return  # redis-py refuses the host
    # With an "@" it is the rest of a password that is not percent-encoded; redis-py refuses it.
    if "@" not in path and not _DATABASE.fullmatch(path):
        raise ConfigError(
            f"redis URL {shown!r}: what follows the host must be the number of a database, as in"
            " redis://host:6379/0"
        )


def _host(item: str, default_port: int, shown: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{item}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ConfigError(f"redis URL {shown!r}: {item!r} is not host:port: use {_FORMS}")
    return unquote(host), port or default_port
