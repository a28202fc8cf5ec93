"""The fixtures themselves: no test may see what another one left."""

from __future__ import annotations

import contextlib

import pytest

from tests.support.databases import DatabasePool


def install(server):
    def make(url):
        run(server, url, "CREATE TABLE version (v INT)", "INSERT INTO version VALUES (1)")
        run(server, url, "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a INT)")

    return make


def run(server, url, *statements):
    """Run statements in the database of `url`; return the rows of the last."""
    database = url.rpartition("/")[2]
    with contextlib.closing(server.client(database)) as client, client.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall()


@pytest.fixture
def pool(mariadb):
    return DatabasePool(mariadb, install(mariadb))


def test_a_lent_database_comes_back_empty_and_counts_from_1(mariadb, pool):
    with pool.lend() as first:
        run(mariadb, first, "INSERT INTO t (a) VALUES (7), (8)", "DELETE FROM t WHERE a = 8")
    with pool.lend() as second:
        assert second == first
        assert run(mariadb, second, "SELECT * FROM t") == ()
        assert run(mariadb, second, "INSERT INTO t (a) VALUES (9)", "SELECT id FROM t") == ((1,),)


def test_a_counter_starts_again_although_the_table_is_empty(mariadb, pool):
    with pool.lend() as first:
        run(mariadb, first, "INSERT INTO t (a) VALUES (7)", "DELETE FROM t")
    with pool.lend() as second:
        assert second == first
        assert run(mariadb, second, "INSERT INTO t (a) VALUES (9)", "SELECT id FROM t") == ((1,),)


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE t",
        "ALTER TABLE t ADD COLUMN b INT",
        "CREATE TABLE other (a INT)",
        "UPDATE version SET v = 2",
        "DELETE FROM version",
    ],
)
def test_a_changed_schema_is_not_lent_again(mariadb, pool, damage):
    with pool.lend() as first:
        run(mariadb, first, damage)
    with pool.lend() as second:
        assert second != first
        assert run(mariadb, second, "SELECT v FROM version") == ((1,),)
        assert run(mariadb, second, "SELECT a FROM t") == ()


def test_a_database_with_a_connection_left_open_is_dropped(mariadb, pool):
    """Also if that connection holds locks; and its owner cannot write to the next test's rows."""
    with pool.lend() as first:
        left = mariadb.client(first.rpartition("/")[2], autocommit=False)
        left.cursor().execute("INSERT INTO t (a) VALUES (7)")
    with pool.lend() as second:
        assert second != first
    with pytest.raises(left.OperationalError):
        left.ping(reconnect=False)
    left._force_close()


def test_a_failing_test_gives_its_database_back(pool):
    with pytest.raises(KeyError), pool.lend() as first:
        raise KeyError
    with pool.lend() as second:
        assert second == first
