"""Migrations: numbered files per dialect, applied in order, each recorded.

A file is named ``NNNN_pre_<what>.sql`` or ``NNNN_post_<what>.sql``: ``pre`` is applied before the
processes of its release start and leaves the release before it working; ``post`` when only the
new release runs. A fresh schema is all of them applied.

SQLite files migrate by themselves when they are opened to be written (``create=True``, the
default); commands that only read never do it. MySQL never does: an operator runs
``mqtasks migrate up``, also twice at once, also again after a crash in the middle.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from functools import cache
from importlib.resources import files
from typing import Final, Protocol, runtime_checkable

import msgspec

from mqtasks.errors import SchemaMismatch
from mqtasks.storage.contract import TaskStorage
from mqtasks.storage.sql.database import Database
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.queries import Template

_COMMAND: Final = "run: mqtasks migrate up"
_FILE: Final = re.compile(r"(\d{4})_((?:pre|post)_\w+)\.sql\Z")
_COMMENT: Final = re.compile(r"^\s*--.*$", re.MULTILINE)


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema."""

    version: int
    name: str
    """``pre_…`` or ``post_…``."""
    sql: str

    def statements(self) -> list[str]:
        """Return its statements, without comments."""
        pieces = _COMMENT.sub("", self.sql).split(";\n")
        return [piece.strip().rstrip(";") for piece in pieces if piece.strip()]


class Step(msgspec.Struct, frozen=True):
    """One migration and when it was applied (unix ms, database clock; None = it was not)."""

    version: int
    name: str
    applied_at: int | None


@runtime_checkable
class Migrating(Protocol):
    """A storage with a schema."""

    @property
    def database(self) -> Database:
        """The units of work."""
        ...

    def migrating(self) -> AbstractContextManager[Session]:
        """Lend a session that nobody else can migrate beside."""
        ...


@cache
def migrations(dialect: str) -> tuple[Migration, ...]:
    """Return the migrations of ``mysql`` or ``sqlite`` this release knows, in order."""
    folder = files("mqtasks.storage").joinpath("migrations", dialect)
    found = []
    for file in folder.iterdir():
        match = _FILE.match(file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text("utf-8")))
    return tuple(sorted(found, key=lambda item: item.version))


def pending_sql(dialect: str, applied: frozenset[int] = frozenset()) -> str:
    """Return the SQL of the migrations not among ``applied``, to be read or run by hand."""
    return "\n".join(
        f"-- {item.version:04d}_{item.name}\n\n{item.sql}"
        for item in migrations(dialect)
        if item.version not in applied
    )


def status(storage: TaskStorage) -> list[Step]:
    """Return every migration that is known here or applied there, in order.

    A storage without a schema (memory) has none. Raises StorageUnavailable.
    """
    if not isinstance(storage, Migrating):
        return []
    applied = {row[0]: (row[1], row[2]) for row in _applied(storage)}
    known = {item.version: item.name for item in migrations(storage.capabilities.name)}
    return [
        Step(
            version,
            known.get(version) or applied[version][0],
            applied[version][1] if version in applied else None,
        )
        for version in sorted(known.keys() | applied.keys())
    ]


def up(storage: TaskStorage) -> list[Step]:
    """Apply every migration that is missing, in order; return those applied now.

    Safe to run twice, and from several processes at once: one works, the others wait. Raises
    SchemaMismatch if a later release has changed the schema already.
    """
    if not isinstance(storage, Migrating):
        return []
    if not _pending(storage):
        demand_current(storage)
        return []
    applied: list[Step] = []
    with storage.migrating() as session:
        session.run("create_schema_version")
        done = {row[0] for row in session.rows("schema_versions")}
        _demand_known(storage.capabilities.name, done)
        for item in migrations(storage.capabilities.name):
            if item.version in done:
                continue
            for statement in item.statements():
                session.run(Template(statement))
            session.run("record_migration", item.version, item.name)
            applied.append(Step(item.version, item.name, session.now()))
    return applied


def demand_current(storage: TaskStorage) -> None:
    """Raise SchemaMismatch unless every migration this release needs is applied, and no other."""
    if not isinstance(storage, Migrating):
        return
    dialect = storage.capabilities.name
    done = {row[0] for row in _applied(storage)}
    if not done:
        raise SchemaMismatch(f"the {dialect} database has no mqtasks tables yet; {_COMMAND}")
    _demand_known(dialect, done)
    missing = [
        f"{item.version:04d}_{item.name}"
        for item in migrations(dialect)
        if item.version not in done and item.name.startswith("pre_")
    ]
    if missing:
        raise SchemaMismatch(
            f"the {dialect} schema is older than this release (missing {', '.join(missing)});"
            f" {_COMMAND}"
        )


def _demand_known(dialect: str, done: set[int]) -> None:
    unknown = sorted(done - {item.version for item in migrations(dialect)})
    if unknown:
        raise SchemaMismatch(
            f"the {dialect} schema is newer than this release (it has migration {unknown[-1]:04d});"
            " upgrade mqtasks here, or give this process another database"
        )


def _pending(storage: Migrating) -> bool:
    done = {row[0] for row in _applied(storage)}
    dialect = storage.capabilities.name  # type: ignore[attr-defined]
    return any(item.version not in done for item in migrations(dialect))


def _applied(storage: Migrating) -> list[tuple[int, str, int]]:
    try:
        rows = storage.database.read(lambda session: session.rows("schema_versions"))
    except SchemaMismatch:
        return []  # not even that table
    return [(version, name, applied_at) for version, name, applied_at in rows]
