"""The .sql files: same names, documented, and within what MySQL 8 and MariaDB both take (P16)."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
import sqlglot

from mqtasks.storage.migrate import migrations
from mqtasks.storage.sql.queries import Template, split_queries
from mqtasks.storage.sqlite import SQLiteTaskStorage

DIALECTS = ("mysql", "sqlite")
# Statements that only one dialect can ask.
ONLY = {
    "mysql": {
        "lane_entries",
        "server",
        "uptime",
        "take_named_lock",
        "caller_place",
        "table_engines",
    },
    "sqlite": set(),
}
_MECHANICAL = re.compile(
    r" FORCE INDEX \(\w+\)| INDEXED BY \w+| FOR UPDATE| LOCK IN SHARE MODE"
    r"| ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
)
_TYPES = re.compile(r"\b(INT UNSIGNED|INTEGER|BIGINT|VARBINARY\(255\)|TEXT)(?!\w)")
BANNED = {
    "a subquery on the table that is updated (MySQL error 1093)": r"(?i)\bUPDATE\s+(\w+)\b.*"
    r"\bSELECT\b.*\bFROM\s+\1\b",
    "RETURNING": r"(?i)\bRETURNING\b",
    "ADD COLUMN IF NOT EXISTS": r"(?i)\bADD\s+COLUMN\s+IF\s+NOT\s+EXISTS\b",
    "->>": r"->>",
    "VALUES ROW()": r"(?i)\bVALUES\s+ROW\s*\(",
    "FOR SHARE": r"(?i)\bFOR\s+SHARE\b",
    "SKIP LOCKED": r"(?i)\bSKIP\s+LOCKED\b",
    "INSERT IGNORE": r"(?i)\bINSERT\s+IGNORE\b",
    # One table is locked by it: it has one key, no numbers of its own, and VALUES() is not asked.
    "ON DUPLICATE KEY": r"(?i)^(?!INSERT INTO mqtasks_unique\b).*\bON\s+DUPLICATE\s+KEY\b",
    "a function of the session's time zone": r"(?i)\b(NOW|CURRENT_TIMESTAMP|CURDATE|SYSDATE)\b",
    "UNIX_TIMESTAMP of a UTC time": r"(?i)UNIX_TIMESTAMP\s*\(\s*[^)\s]",
    "a foreign key": r"(?i)\bREFERENCES\b|\bFOREIGN\s+KEY\b",
    "a reserved word as a name": r"(?i)(?<![\w`])(rank|groups|lead|lag|rows|window|of|system)"
    r"(?=\s*[=,])",
}
# MySQL's own list of reserved words that are tempting as column names.
RESERVED = {
    "rank", "groups", "lead", "lag", "window", "function", "system", "key", "keys", "condition",
    "interval", "limit", "option", "order", "range", "read", "release", "row", "rows", "schema",
    "trigger", "usage", "values", "when", "cume_dist", "empty", "except", "recursive",
}  # fmt: skip


def queries(dialect):
    text = files("mqtasks.storage").joinpath("queries", f"{dialect}.sql").read_text("utf-8")
    return {name: (comment, body) for name, comment, body in split_queries(text)}


def every_statement():
    for dialect in DIALECTS:
        for name, (_, body) in queries(dialect).items():
            yield pytest.param(dialect, body, id=f"{dialect}-{name}")
        for step in migrations(dialect):
            for number, body in enumerate(step.statements()):
                yield pytest.param(dialect, body, id=f"{dialect}-{step.version:04d}-{number}")


def plain(body):
    """Return a statement as a server would see it."""
    body = body.replace("{task_columns}", "task_id").replace("{now}", "1").replace("{in}", "1")
    body = re.sub(r"\(([^()]*)\) VALUES \{rows\}", _one_row, body)
    return re.sub(r"\{\w+\}", "1", body)


def _one_row(match):
    values = ", ".join("1" for _ in match[1].split(","))
    return f"({match[1]}) VALUES ({values})"


def test_both_dialects_have_the_same_names():
    names = [queries(dialect).keys() - ONLY[dialect] for dialect in DIALECTS]
    assert names[0] == names[1]


def test_no_name_is_given_twice():
    for dialect in DIALECTS:
        text = files("mqtasks.storage").joinpath("queries", f"{dialect}.sql").read_text("utf-8")
        names = [name for name, _, _ in split_queries(text)]
        assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_statement_says_what_it_is_for(dialect):
    bare = [name for name, (comment, _) in queries(dialect).items() if len(comment) < 10]
    assert bare == []


def test_a_difference_between_the_dialects_is_explained():
    """Hints, locks and types differ as the heads of the files say; the rest says why."""
    mysql, sqlite = queries("mysql"), queries("sqlite")

    def normal(body):
        return _TYPES.sub("type", _MECHANICAL.sub("", body))

    unexplained = [
        name
        for name in mysql.keys() & sqlite.keys()
        if normal(mysql[name][1]) != normal(sqlite[name][1])
        and "Differs because" not in mysql[name][0] + sqlite[name][0]
    ]
    assert unexplained == []


@pytest.mark.parametrize(("dialect", "body"), list(every_statement()))
def test_p16_nothing_banned_is_used(dialect, body):
    assert [name for name, pattern in BANNED.items() if re.search(pattern, plain(body))] == []


@pytest.mark.parametrize("name", BANNED)
def test_p16_the_ban_list_bans(name):
    sample = {
        "a subquery on the table that is updated (MySQL error 1093)": "UPDATE t SET a = 1 WHERE id"
        " IN (SELECT id FROM t WHERE b)",
        "RETURNING": "DELETE FROM t RETURNING id",
        "ADD COLUMN IF NOT EXISTS": "ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT",
        "->>": "SELECT a->>'$.b' FROM t",
        "VALUES ROW()": "SELECT * FROM (VALUES ROW(1)) AS v",
        "FOR SHARE": "SELECT 1 FROM t FOR SHARE",
        "SKIP LOCKED": "SELECT 1 FROM t FOR UPDATE SKIP LOCKED",
        "INSERT IGNORE": "INSERT IGNORE INTO t VALUES (1)",
        "ON DUPLICATE KEY": "INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 1",
        "a function of the session's time zone": "SELECT NOW()",
        "UNIX_TIMESTAMP of a UTC time": "SELECT UNIX_TIMESTAMP(UTC_TIMESTAMP(3))",
        "a foreign key": "CREATE TABLE t (a INT REFERENCES u (a))",
        "a reserved word as a name": "SELECT rank, a FROM t",
    }[name]
    assert re.search(BANNED[name], sample)


@pytest.mark.parametrize(
    "body", [item.values[1] for item in every_statement() if item.values[0] == "mysql"]
)
def test_p16_every_mysql_statement_parses(body):
    # sqlglot knows no REPLACE; its grammar is that of INSERT.
    (parsed,) = sqlglot.parse(re.sub(r"^REPLACE", "INSERT", plain(body)), dialect="mysql")
    assert parsed is not None
    # What it cannot parse it keeps as an opaque command; SHOW is one by nature.
    assert parsed.key != "command" or body.startswith("SHOW")


@pytest.mark.parametrize("name", queries("sqlite"))
def test_every_sqlite_statement_compiles(name, tmp_path):
    body = plain(queries("sqlite")[name][1])
    with SQLiteTaskStorage(tmp_path / "tasks.db") as storage:
        marks = (None,) * body.count("?")
        compiled = storage.database.read(
            lambda session: session.rows(Template(f"EXPLAIN {body}"), *marks)
        )
    assert compiled


def test_p16_no_column_or_table_is_a_reserved_word():
    names = set()
    for step in migrations("mysql"):
        for statement in step.statements():
            (parsed,) = sqlglot.parse(statement, dialect="mysql")
            assert parsed is not None
            names |= {item.name.lower() for item in parsed.find_all(sqlglot.exp.ColumnDef)}
            names |= {item.name.lower() for item in parsed.find_all(sqlglot.exp.Table)}
    assert {"task_id", "mqtasks_task"} <= names
    assert names & RESERVED == set()
