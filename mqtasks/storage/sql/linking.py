"""Linking new tasks to those they wait for, and moving them on, in SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

from mqtasks.model import BAD_OUTCOMES, AttemptOutcome, Created, DependencyOutcome, NewTask
from mqtasks.storage.links import (
    Edge,
    Move,
    check_acyclic,
    decide,
    due_at,
    is_linked,
    not_stored,
    outcome_of,
    parents_of,
)
from mqtasks.storage.sql.dialect import DuplicateKey, Session
from mqtasks.storage.sql.history import record_attempts
from mqtasks.storage.sql.queries import Template
from mqtasks.storage.sql.rows import Row, stored_error

_EDGES: Final = 1000
"""Edges written by one statement."""


class Decided(NamedTuple):
    """What becomes of one WAITING task."""

    task_id: int
    move: Move
    cause: str
    run_at: int
    """As the producer gave it; 0 = none."""
    delay: float
    """Seconds."""


class Links:
    """The links of the new tasks of one batch, inside the transaction that creates it."""

    def __init__(self, session: Session, ordered: Sequence[NewTask]) -> None:
        """Find the parents that are stored already; raises InvalidArgument before any write."""
        self._session = session
        self._linked = [task for task in ordered if is_linked(task)]
        check_acyclic(self._linked)
        batch = {task.metadata.id for task in ordered}
        names = {name for task in self._linked for name in _named(task)} - batch
        self._stored: dict[str, int] = dict(session.rows_in("known_ids", sorted(names)))
        if len(self._stored) < len(names):
            self._demand(names - self._stored.keys())

    def write(self, made: Mapping[str, Created]) -> None:
        """Write the links of those that are new; move those that wait for nothing."""
        new = [task for task in self._linked if made[task.metadata.id].is_new]
        if not new:
            return  # whoever is stored keeps the links it has
        ids = self._stored | {name: item.task_id for name, item in made.items()}
        fresh = {item.task_id for item in made.values() if item.is_new}
        looked_at = {ids[name] for task in new for name in task.after} - fresh
        states = self._judge(looked_at)
        why = reasons(self._session, states)
        decided: list[Decided] = []
        rows: list[Row] = []
        for task in new:
            child_id = made[task.metadata.id].task_id
            edges = [
                Edge(
                    parent,
                    at,
                    states.get(parent, DependencyOutcome.OPEN),
                    name,
                    why.get(parent, ""),
                )
                for at, name in enumerate(parents_of(task))
                for parent in [ids[name]]
            ]
            if edges:
                decided.append(_decide(task, child_id, edges))
            dropped = bool(edges) and decided[-1].move in {Move.CANCEL, Move.FAIL}
            rows += [_edge_row(task, child_id, edge, dropped=dropped) for edge in edges]
            if task.child_of and task.child_of not in task.after:
                made_by = Edge(ids[task.child_of], len(edges), DependencyOutcome.SPAWNED, "")
                rows.append(_edge_row(task, child_id, made_by))
        _insert(self._session, sorted(rows))
        move_on(self._session, decided)

    def _judge(self, parents: Iterable[int]) -> dict[int, DependencyOutcome]:
        """Return what became of parents; of those left out the resolver finds it.

        Locked, so that none of them is deleted, or ends, before these links can be seen. Without
        that lock the one on their names, which `known_ids` took, still keeps the pruner out.
        """
        if not self._session.judges_parents:
            return {}
        wanted = sorted(parents)
        rows = self._session.rows_in("lock_parents", wanted)
        if len(rows) < len(wanted):
            # Deleted since its name was looked up; the next try creates or refuses it.
            raise DuplicateKey("a parent")
        return {task_id: outcome_of(status, code) for task_id, status, code in rows}

    def _demand(self, missing: AbstractSet[str]) -> None:
        """Raise unless all that name a missing parent are stored already."""
        unsure = [task for task in self._linked if not missing.isdisjoint(_named(task))]
        rows = self._session.rows_in("known_ids", [task.metadata.id for task in unsure])
        stored = {row[0] for row in rows}
        for task in unsure:
            if task.metadata.id not in stored:
                raise not_stored(task, next(name for name in _named(task) if name in missing))


def reasons(session: Session, states: Mapping[int, DependencyOutcome]) -> dict[int, str]:
    """Return what is said of the end of those that ended badly, by task id; "" for nothing."""
    bad = sorted(task_id for task_id, outcome in states.items() if outcome in BAD_OUTCOMES)
    rows = session.rows_in("why_ended", bad) if bad else []
    return {task_id: _text(attempt or error or b"") for task_id, error, attempt in rows}


def _text(value: bytes | str) -> str:
    # Cut at a number of bytes; a caller's connection may give text.
    return value if isinstance(value, str) else value.decode(errors="ignore")


def move_on(session: Session, decided: Iterable[Decided]) -> None:
    """Do to WAITING rows, which this transaction has locked or made, what was decided."""
    by_move: dict[Move, list[Decided]] = {move: [] for move in Move}
    for item in sorted(decided):
        by_move[item.move].append(item)
    if by_move[Move.RELEASE]:
        _release(session, by_move[Move.RELEASE])
    ended = by_move[Move.CANCEL]
    if ended:
        outcome = int(AttemptOutcome.CANCELED)
        record_attempts(
            session,
            [(item.task_id, outcome, None, stored_error(item.cause) or b"", b"") for item in ended],
        )
        session.run_in("cancel_waiting", [item.task_id for item in ended])
    failed = [(item.task_id, stored_error(item.cause)) for item in by_move[Move.FAIL]]
    if failed:
        session.run_each("fail_waiting", ("task_id", "error"), failed)


def listed(session: Session, name: str, children: Iterable[int], parents: Iterable[int]) -> Any:
    """Return a statement that goes on with lists of children and parents."""
    lists = [", ".join(map(str, sorted(ids))) for ids in (children, parents)]
    return Template(
        f"{session.text(name)} AND child_id IN ({lists[0]}) AND parent_id + 0 IN ({lists[1]})"
    )


def _release(session: Session, released: Sequence[Decided]) -> None:
    now = session.now()
    due = [(item.task_id, due_at(item.run_at, item.delay, now)) for item in released]
    fields = ("task_id", "run_at")
    session.run_each("release_waiting", fields, [item for item in due if item[1] <= now])
    session.run_each("schedule_waiting", fields, [item for item in due if item[1] > now])


def _named(task: NewTask) -> tuple[str, ...]:
    return (*task.after, task.child_of) if task.child_of else task.after


def _decide(task: NewTask, child_id: int, edges: Sequence[Edge]) -> Decided:
    settled = [edge for edge in edges if edge.outcome is not DependencyOutcome.OPEN]
    move, cause = decide(task.on_failure, settled, len(edges) - len(settled))
    return Decided(child_id, move, cause, task.run_at, task.metadata.options.delay_duration)


def _edge_row(task: NewTask, child_id: int, edge: Edge, *, dropped: bool = False) -> Row:
    outcome = edge.outcome
    if dropped and outcome is DependencyOutcome.OPEN:
        outcome = DependencyOutcome.DROPPED
    return (child_id, edge.parent_id, edge.position, int(task.on_failure), int(outcome))


def _insert(session: Session, rows: Sequence[Row]) -> None:
    for start in range(0, len(rows), _EDGES):
        part = rows[start : start + _EDGES]
        write = Template(session.text("insert_edges") + ", (?, ?, ?, ?, ?)" * (len(part) - 1))
        session.run(write, *(value for row in part for value in row))
