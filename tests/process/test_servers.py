from __future__ import annotations

import contextlib

import pymysql
import pytest
import redis

from mqtasks.errors import ConfigError
from mqtasks.process.private import find_program
from tests.support.servers import MariaDBServer, RedisServer, ServerFailed, free_port


def scalar(server: MariaDBServer, sql: str, database: str | None = None) -> object:
    with contextlib.closing(server.client(database)) as client, client.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def test_committed_rows_survive_a_kill_and_a_change_of_address(own_mariadb):
    """What was committed is there after SIGKILL, on a second server over the same data."""
    own_mariadb.create_database("kept")
    with contextlib.closing(own_mariadb.client("kept")) as client, client.cursor() as cursor:
        cursor.execute("CREATE TABLE t (a INT PRIMARY KEY) ENGINE=InnoDB")
        cursor.execute("INSERT INTO t VALUES (7)")
    own_mariadb.kill()
    with MariaDBServer.start(own_mariadb.datadir) as second:
        assert second.port != own_mariadb.port
        assert second.password == own_mariadb.password
        assert scalar(second, "SELECT a FROM t", "kept") == 7


def test_restart_keeps_port_and_data(own_mariadb):
    own_mariadb.create_database("kept")
    port, pid = own_mariadb.port, own_mariadb.pid
    own_mariadb.restart()
    assert (own_mariadb.port, own_mariadb.pid != pid) == (port, True)
    assert scalar(own_mariadb, "SHOW DATABASES LIKE 'kept'") == "kept"


def test_commits_are_durable_by_default(mariadb):
    assert scalar(mariadb, "SELECT @@innodb_flush_log_at_trx_commit") == 1


def test_a_password_is_needed(mariadb):
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        mariadb.client(password="wrong")
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        mariadb.client(user="root", password="")


def test_a_failed_start_shows_the_log():
    with pytest.raises(ServerFailed, match=r"(?s)127\.0\.0\.1.*unknown variable 'bogus=1'"):
        MariaDBServer.start(options=["--bogus=1"])


def test_a_taken_port_is_an_error(redis_server):
    with pytest.raises(ServerFailed, match="in use"):
        RedisServer.start(port=redis_server.port)


def test_a_port_taken_meanwhile_is_replaced(redis_server, monkeypatch):
    """Between choosing a free port and binding it, another program may take it."""
    ports = iter([redis_server.port, free_port()])
    monkeypatch.setattr("mqtasks.process.private.free_port", lambda: next(ports))
    with RedisServer.start() as server:
        assert server.port != redis_server.port


def test_redis_forgets_at_restart(own_redis):
    with redis.Redis.from_url(own_redis.url()) as client:
        client.set("key", "value")
        own_redis.restart()
        assert client.get("key") is None


def test_close_removes_the_folder():
    server = RedisServer.start()
    assert server.folder.is_dir()
    server.close()
    server.close()
    assert not server.folder.exists()
    assert not server.running


def test_a_given_folder_is_kept(tmp_path):
    with RedisServer.start(folder=tmp_path / "redis"):
        pass
    assert (tmp_path / "redis" / "redis.log").is_file()


def test_a_missing_program_names_the_command_that_installs_it():
    with pytest.raises(ConfigError, match=r"apt-get install .*some-package"):
        find_program("no-such-server", "some-package")
