"""Tasks that wait for others, in SQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mqtasks.model import (
    Dependency,
    DependencyOutcome,
    FailurePolicy,
    ParentResult,
    TaskStatus,
    options_from_bytes,
)
from mqtasks.storage.contract import Resolution
from mqtasks.storage.links import Edge, Move, checked_limit, decide, outcome_of
from mqtasks.storage.sql.base import SqlBase, when_disabled
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.linking import Decided, listed, move_on, reasons
from mqtasks.storage.sql.rows import Row, result_of


class SqlDependencies(SqlBase):
    """See `DependencyOperations`; links are made by `create_tasks`."""

    @when_disabled(Resolution)
    def resolve_dependencies(self, after_parent: int = 0, limit: int = 500) -> Resolution:
        """Take one step: settle edges of ended parents, move children."""
        limit = checked_limit(limit)

        def look(session: Session) -> tuple[list[Row], list[Row]]:
            # No optimizer here seeks from group to group reliably, so entries are read instead:
            # of a parent that a million tasks wait for a step meets no more than others.
            entries = session.rows("open_parents", after_parent, limit)
            parents = list(dict.fromkeys(row[0] for row in entries))
            unended = {row[0] for row in session.rows_in("unended", parents)}
            ended = [parent for parent in parents if parent not in unended]
            return entries, session.rows_in("open_edges", ended, limit)

        entries, edges = self._db.read(look)
        next_parent = entries[-1][0] if len(entries) == limit else None
        moved: dict[Move, list[int]] = {move: [] for move in Move}
        if edges:
            if len(edges) == limit:
                next_parent = edges[-1][0] - 1  # it may have more
            moved = self._db.transact(lambda session: _settle(session, edges))
        return Resolution(
            tuple(moved[Move.RELEASE]),
            tuple(moved[Move.CANCEL]),
            tuple(moved[Move.FAIL]),
            waiting=bool(entries),
            next_parent=next_parent,
        )

    @when_disabled(list[Dependency])
    def dependencies(self, child_id: int) -> list[Dependency]:
        """Return the links of a task to its parents, by position."""
        return _links(self._db.read(lambda session: session.rows("dependencies", child_id)))

    @when_disabled(list[Dependency])
    def children(self, parent_id: int, after_child: int = 0, limit: int = 1000) -> list[Dependency]:
        """Return links to up to ``limit`` children with task id > ``after_child``."""
        params = (parent_id, after_child, limit)
        return _links(self._db.read(lambda session: session.rows("children", *params)))

    @when_disabled(list[ParentResult])
    def parent_results(self, child_id: int) -> list[ParentResult]:
        """Return what became of the tasks that ``after`` named, in its order."""
        rows = self._db.read(lambda session: session.rows("parent_results", child_id))
        return [
            ParentResult(
                parent_id,
                name or "",
                DependencyOutcome(outcome),
                None if code is None else result_of(code, error, value),
            )
            for parent_id, outcome, name, code, error, value in rows
        ]


def _settle(session: Session, edges: Sequence[Row]) -> dict[Move, list[int]]:
    """Judge parents again, under locks; settle their edges; move children. Return who moved."""
    children = {row[1] for row in edges}
    wanted = {row[0] for row in edges}
    rows = {row[0]: row for row in session.rows_in("lock_linked", sorted(children | wanted))}
    judged = {parent: _judge(rows.get(parent)) for parent in wanted}
    ended = {
        parent: state for parent, state in judged.items() if state[0] is not DependencyOutcome.OPEN
    }
    moved: dict[Move, list[int]] = {move: [] for move in Move}
    here = children & rows.keys()
    # Whoever deletes a row by hand, or in an older release, leaves its edges.
    session.run_in("delete_edges", sorted(children - here))
    if not ended or not here:
        return moved
    by_child: dict[int, list[Row]] = defaultdict(list)
    for row in session.rows(listed(session, "judged_edges", here, ended)):
        by_child[row[0]].append(row)
    if not by_child:
        return moved
    _write_outcomes(session, by_child, ended)
    why = reasons(session, {parent: outcome for parent, (outcome, _) in ended.items()})
    left: dict[int, int] = dict(session.rows_in("open_counts", sorted(by_child)))
    decided = [
        _decide(rows[child_id], found, ended, why, left.get(child_id, 0))
        for child_id, found in sorted(by_child.items())
        if rows[child_id][1] == TaskStatus.WAITING
    ]
    move_on(session, decided)
    for item in decided:
        moved[item.move].append(item.task_id)
    session.run_in("drop_edges", sorted([*moved[Move.CANCEL], *moved[Move.FAIL]]))
    return moved


def _judge(row: Row | None) -> tuple[DependencyOutcome, str]:
    """Return what became of a parent, and its name."""
    if row is None:
        return DependencyOutcome.MISSING, ""
    return outcome_of(row[1], row[2]), row[3]


def _write_outcomes(
    session: Session, children: Iterable[int], ended: dict[int, tuple[DependencyOutcome, str]]
) -> None:
    by_outcome: dict[DependencyOutcome, list[int]] = defaultdict(list)
    for parent, (outcome, _) in ended.items():
        by_outcome[outcome].append(parent)
    for outcome, parents in sorted(by_outcome.items()):
        session.run(listed(session, "settle_edges", children, parents), int(outcome))


def _decide(
    row: Row, found: Sequence[Row], ended: dict[int, Any], why: Mapping[int, str], left: int
) -> Decided:
    task_id, _, _, _, run_at, options = row
    settled = [
        Edge(parent, position, outcome, name, why.get(parent, ""))
        for _, parent, position, _ in found
        for outcome, name in [ended[parent]]
    ]
    move, cause = decide(found[0][3], settled, left)
    return Decided(task_id, move, cause, run_at, options_from_bytes(options).delay_duration)


def _links(rows: Iterable[Row]) -> list[Dependency]:
    return [
        Dependency(child, parent, position, FailurePolicy(policy), DependencyOutcome(outcome))
        for child, parent, position, policy, outcome in rows
    ]
