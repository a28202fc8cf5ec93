"""Coordination URLs: what is accepted, and that no password ever shows."""

from __future__ import annotations

import logging

import pytest

from mqtasks.config import mask_url
from mqtasks.coordination.factory import coordination_from_url
from mqtasks.coordination.keys import Keys
from mqtasks.coordination.redis import make_source
from mqtasks.coordination.urls import parse_redis_url
from mqtasks.errors import ConfigError, CoordinationUnavailable, InvalidArgument

SECRET = "s3cr3t%2Fzebra"  # as written in a URL: the password is s3cr3t/zebra


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost"),
        ("redis://user@host:1/0", "redis://user@host:1/0"),
        ("redis://user:pw@host:1/0", "redis://user:***@host:1/0"),
        ("redis://:pw@host", "redis://:***@host"),
        ("redis://:p@w/x#y?z@host", "redis://:***@host"),
        ("unix:///run/redis.sock?password=pw&db=1", "unix:///run/redis.sock?password=***&db=1"),
        ("redis://h?password=a@b#c", "redis://h?password=***"),
        (
            "redis://h?ssl_password=a&sentinel_password=b",
            "redis://h?ssl_password=***&sentinel_password=***",
        ),
    ],
)
def test_masking(url, shown):
    assert mask_url(url) == shown


@pytest.mark.parametrize(
    ("url", "kind", "client_url", "hosts", "service"),
    [
        ("redis://h:1/2", "single", "redis://h:1/2", (), ""),
        ("REDISS://h", "single", "rediss://h", (), ""),
        ("valkey://u:p@h/1", "single", "redis://u:p@h/1", (), ""),
        ("valkeys://h", "single", "rediss://h", (), ""),
        ("unix:///run/redis.sock?db=1", "single", "unix:///run/redis.sock?db=1", (), ""),
        (
            "redis+sentinel://u:p@a:1,b,[::1]:3/main%20one/2?sentinel_password=x",
            "sentinel",
            "redis://u:p@cluster/2?sentinel_password=x",
            (("a", 1), ("b", 26379), ("::1", 3)),
            "main one",
        ),
        ("valkey+sentinel://a/m", "sentinel", "redis://cluster/", (("a", 26379),), "m"),
        (
            "rediss+cluster://:p@a,b:7/?socket_timeout=3",
            "cluster",
            "rediss://:p@cluster/?socket_timeout=3",
            (("a", 6379), ("b", 7)),
            "",
        ),
        (
            "redis+cluster://a?socket_timeout=3",
            "cluster",
            "redis://cluster/?socket_timeout=3",
            (("a", 6379),),
            "",
        ),
    ],
)
def test_parsing(url, kind, client_url, hosts, service):
    address = parse_redis_url(url)
    assert (address.kind, address.client_url) == (kind, client_url)
    assert (address.hosts, address.service) == (hosts, service)
    assert address.tls == client_url.startswith("rediss")


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        (f"http://:{SECRET}@host", "no known scheme: use redis://"),
        (f"amqp://:{SECRET}@host", "no known scheme"),
        ("localhost:6379", "no known scheme"),
        ("redis:host", "no known scheme"),
        (f"redis://:{SECRET}@host:port/0", "cannot be used"),
        ("redis://:s3cr3t/zebra@host", "percent-encode"),
        (f"redis://:{SECRET}@host/0?no_such_option=1", "no_such_option"),
        (f"redis://:{SECRET}@host/0?socket_timeout=soon", "cannot be used"),
        (f"redis://:{SECRET}@host/zz", "must be the number of a database"),
        (f"rediss://:{SECRET}@host/-1?socket_timeout=3", "must be the number of a database"),
        ("redis://host/1/2", "as in redis://host:6379/0"),
        (f"redis+sentinel://:{SECRET}@host/m/zz", "must be the number of a database"),
        (f"redis+cluster://:{SECRET}@host/zz", "must be the number of a database"),
        (f"redis+sentinel://:{SECRET}@host", "names no service"),
        (f"redis+sentinel://:{SECRET}@host:x/m", "'host:x' is not host:port"),
        (f"redis+sentinel://:{SECRET}@host/m?no_such_option=1", "no_such_option"),
        (f"redis+cluster://:{SECRET}@", "is not host:port"),
        (f"redis+cluster://:{SECRET}@host?socket_timeout=soon", "cannot be used"),
        (f"rediss+cluster://:{SECRET}@host?no_such_option=1", "no_such_option"),
    ],
)
def test_bad_urls_say_what_to_do_and_hide_the_password(url, remedy):
    with pytest.raises(ConfigError, match=remedy) as raised:
        coordination_from_url(url)
    assert "s3cr3t" not in str(raised.value)
    assert "zebra" not in str(raised.value)
    assert raised.value.__context__ is None or raised.value.__suppress_context__


def test_bad_namespaces_are_refused_with_any_backend():
    for url in (None, "redis://localhost"):
        with pytest.raises(InvalidArgument):
            coordination_from_url(url, "a b")


def test_a_wrong_password_is_told_without_the_password(own_world, caplog):
    caplog.set_level(logging.DEBUG)
    url = own_world.url.replace("redis://", f"redis://user:{SECRET}@")
    with coordination_from_url(url) as coordination:
        coordination.notifier.subscribe(["a"], print)
        assert not coordination.notifier.publish("a")
        with pytest.raises(CoordinationUnavailable, match="AuthenticationError") as raised:
            coordination.heartbeats.stats()
        shown = f"{coordination!r} {coordination.notifier!r} {raised.value} {caplog.text}"
    assert "user:***@127.0.0.1" in caplog.text
    assert "s3cr3t" not in shown


def test_passwords_in_errors_of_the_client_are_scrubbed():
    address = parse_redis_url("redis://u:a%2Fb@h?password=cde")
    assert address.scrub("a%2Fb or a/b, not cde") == "*** or ***, not ***"
    assert "a%2Fb" not in repr(address)


def test_options_of_the_url_win_except_those_we_rely_on():
    source = make_source(
        parse_redis_url("redis://h?socket_timeout=7&decode_responses=True"), Keys()
    )
    options = source.client().connection_pool.connection_kwargs
    assert options["socket_timeout"] == 7
    assert options["socket_connect_timeout"] == 1
    assert options["decode_responses"] is False
    assert (options["retry"]._retries, options["retry"]._supported_errors) == (0, ())


def test_unix_sockets(tmp_path):
    with coordination_from_url(f"unix://{tmp_path}/no.sock?db=1") as coordination:
        assert not coordination.notifier.publish("a")
