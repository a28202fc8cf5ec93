"""Recording cron firings, and firing beside the schedule, in SQL (P12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from mqtasks.model import (
    CronFiring,
    CronTask,
    FiredTask,
    FiringKind,
    FiringState,
    NewFiring,
    NewTask,
)
from mqtasks.storage.checks import MAX_NUMBER
from mqtasks.storage.contract import MANUAL_COUNTS_MS, FiringOperations, Trigger
from mqtasks.storage.crons import has_failed, last_ids, tasks_of
from mqtasks.storage.sql.base import SqlBase, when_disabled
from mqtasks.storage.sql.create import create_in, first_of_each
from mqtasks.storage.sql.deadlines import note_deadlines_of
from mqtasks.storage.sql.dialect import DuplicateKey, Session
from mqtasks.storage.sql.queries import Template
from mqtasks.storage.sql.rows import Row

_CHUNK: Final = 500
"""Firings in one statement."""
_FIRES: Final = True
_PASSES: Final = False
_LOSES: Final = None


class SqlFirings(SqlBase, FiringOperations):
    """See `FiringOperations`."""

    @when_disabled(list[bool])
    def add_firings(
        self, cron: CronTask, kind: FiringKind, firings: Sequence[NewFiring]
    ) -> list[bool]:
        """Fire beside the schedule; answer in the order given, whether this call fired."""
        tasks = tasks_of(cron, firings)
        self._note_retentions(task.metadata.options for task in tasks)
        note_deadlines_of(self._db, tasks)

        def work(session: Session) -> list[bool]:
            row = session.one("lock_cron", cron.metadata.id)
            names = [task.metadata.id for task in tasks]
            stored = {known[0] for known in session.rows_in("known_ids", names)}
            if row is None or row[5] or row[3] != cron.version:
                return [False] * len(firings)
            wanted = {
                item.fire_time: (row[0], kind, item.fire_time, task.metadata.id)
                for item, task in zip(reversed(firings), reversed(tasks), strict=True)
                if task.metadata.id not in stored
            }
            recorded = record_firings(session, [wanted[at] for at in sorted(wanted)])
            fired = {key[3] for key in recorded}
            _create(session, first_of_each([task for task in tasks if task.metadata.id in fired]))
            answers = []
            for name in names:
                # Only the first of the same in one call.
                answers.append(name in fired or (session.repeated and name in stored))
                fired.discard(name)
            return answers

        return self._db.transact(work) if firings else []

    @when_disabled(list[CronFiring])
    def cron_firings(
        self, metadata_id: str, limit: int, kind: FiringKind, until: int | None = None
    ) -> list[CronFiring]:
        """Return recorded firings of one kind, the latest fire_time first."""

        def work(session: Session) -> list[Row]:
            cron_id = session.one("cron_number", metadata_id)
            if cron_id is None:
                return []
            last = MAX_NUMBER if until is None else until
            return session.rows("firings", cron_id[0], int(kind), last, limit)

        return [
            CronFiring(FiringKind(kind), fire_time, FiringState(state), task, fired_at)
            for kind, fire_time, state, task, fired_at in self._db.read(work)
        ]

    @when_disabled(dict[str, list[FiredTask]])
    def fired_tasks(self, crons: Sequence[CronTask], last: int) -> dict[str, list[FiredTask]]:
        """Return what has become of earlier firings, by the definition's metadata id."""
        numbers = sorted(cron.id for cron in crons)
        asked = {cron.id: last_ids(cron, last) for cron in crons}

        def work(session: Session) -> list[Row]:
            for cron_id, task in session.rows_in("manual_firings", numbers, MANUAL_COUNTS_MS):
                asked[cron_id].append(task)
            wanted = [name for names in asked.values() for name in names]
            return session.rows_in("fired_tasks", wanted)

        known = {
            name: FiredTask(task_id, name, status, has_failed(status, result_code))
            for name, task_id, status, result_code in self._db.read(work)
        }
        return {
            cron.metadata.id: [known[name] for name in asked[cron.id] if name in known]
            for cron in crons
        }

    @when_disabled(int)
    def prune_firings(self, limit: int, keep_ms: int) -> int:
        """Delete up to ``limit`` records that are older than ``keep_ms``, the oldest first."""
        return self._db.single(lambda session: session.run("prune_firings", keep_ms, limit))


class Round:
    """Triggers applied to definitions that are locked, each conditional on what is before it."""

    def __init__(self, session: Session, rows: Mapping[str, Row], stored: set[str]) -> None:
        """``rows`` are those of ``lock_crons``; ``stored`` the known ids among the tasks'."""
        self._session = session
        self._rows = rows
        self._stored = stored

    def apply(self, triggers: Sequence[Trigger]) -> list[bool]:
        """Write what may be; answer for each whether its firing was recorded."""
        verdicts = self._judge(triggers, set())
        try:
            _insert(self._session, self._records(triggers, verdicts))
        except DuplicateKey:  # rare: a clock was set back; nothing is written yet
            keys = {self._key(item)[:3] for item in triggers if item.cron.metadata.id in self._rows}
            known = {key for key in sorted(keys) if self._session.rows("firing", *map(int, key))}
            verdicts = self._judge(triggers, known)
            _insert(self._session, self._records(triggers, verdicts))
        self._move(triggers, verdicts)
        fired = (item.task for item, how in zip(triggers, verdicts, strict=True) if how is _FIRES)
        _create(self._session, [task for task in fired if task is not None])
        return [
            how is _FIRES or (how is _LOSES and self._is_done(item))
            for item, how in zip(triggers, verdicts, strict=True)
        ]

    def _judge(
        self, triggers: Sequence[Trigger], known: set[tuple[int, FiringKind, int]]
    ) -> list[bool | None]:
        """Say for each whether it fires, loses, or only passes a moment that is known."""
        taken, known = set(self._stored), set(known)
        at = {name: (row[2], row[6]) for name, row in self._rows.items()}
        verdicts: list[bool | None] = []
        for item in triggers:
            cron, name = item.cron, item.task.metadata.id if item.task is not None else ""
            row = self._rows.get(cron.metadata.id)
            if (
                row is None
                or row[5]
                or row[4]
                or row[3] != cron.version
                or at[cron.metadata.id] != (cron.trigger_times, cron.next_time)
                or name in taken
            ):
                verdicts.append(_LOSES)
                continue
            key = self._key(item)[:3]
            fires = key not in known
            known.add(key)
            if fires and name:
                taken.add(name)
            at[cron.metadata.id] = (cron.trigger_times + (fires and bool(name)), item.next_time)
            verdicts.append(_FIRES if fires else _PASSES)
        return verdicts

    def _records(
        self, triggers: Sequence[Trigger], verdicts: Sequence[bool | None]
    ) -> list[tuple[Key, FiringState]]:
        return [
            (self._key(item), item.state)
            for item, how in zip(triggers, verdicts, strict=True)
            if how is _FIRES
        ]

    def _move(self, triggers: Sequence[Trigger], verdicts: Sequence[bool | None]) -> None:
        moved: dict[int, tuple[int, int, int]] = {}
        for item, how in zip(triggers, verdicts, strict=True):
            if how is not _LOSES:
                number = self._rows[item.cron.metadata.id][0]
                times = moved.get(number, (0, 0, 0))[2] + (how is _FIRES and item.task is not None)
                moved[number] = (number, item.next_time, times)
        rows = [moved[number] for number in sorted(moved)]
        self._session.run_each("advance_crons", ("cron_id", "next_time", "times"), rows)

    def _key(self, item: Trigger) -> Key:
        number = self._rows[item.cron.metadata.id][0]
        name = item.task.metadata.id if item.task is not None else ""
        return (number, FiringKind.SCHEDULED, item.moment, name)

    def _is_done(self, item: Trigger) -> bool:
        """Return whether the try before this one, whose outcome was unknown, did it (P10)."""
        if not self._session.repeated or item.task is None:
            return False
        row = self._rows.get(item.cron.metadata.id)
        is_stored = item.task.metadata.id in self._stored
        return row is not None and is_stored and row[2] > item.cron.trigger_times


Key = tuple[int, FiringKind, int, str]
"""Number of the definition, kind, fire time, and metadata id of the task."""


def record_firings(session: Session, keys: Sequence[Key]) -> list[Key]:
    """Record firings of definitions that are locked, each another moment; return the new ones."""
    done: list[Key] = []
    for start in range(0, len(keys), _CHUNK):
        part = [(key, FiringState.FIRED) for key in keys[start : start + _CHUNK]]
        try:
            _insert(session, part)
        except DuplicateKey:  # rare: somebody backfills again
            part = [item for item in part if not session.rows("firing", *map(int, item[0][:3]))]
            _insert(session, part)
        done += [key for key, _ in part]
    return done


def _insert(session: Session, part: Sequence[tuple[Key, FiringState]]) -> None:
    if not part:
        return
    text = session.text("record_firings").replace(
        "{rows}", ",".join(["(?,?,?,?,?,{now})"] * len(part))
    )
    values = (
        value
        for (cron_id, kind, at, task), state in part
        for value in (cron_id, int(kind), at, int(state), task)
    )
    session.run(Template(text), *values)


def _create(session: Session, tasks: Sequence[NewTask]) -> None:
    for name, created in create_in(session, tasks).items():
        if not created.is_new:  # by somebody else, between our look and our write
            raise DuplicateKey(name)
