"""Tasks that wait for others, in memory."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain, islice
from operator import attrgetter

from mqtasks.model import FINAL, Dependency, DependencyOutcome, ParentResult, TaskStatus
from mqtasks.storage.contract import DependencyOperations, Resolution
from mqtasks.storage.links import Edge, Move, checked_limit, decide, outcome_of
from mqtasks.storage.memory.base import MemoryBase
from mqtasks.storage.memory.linking import move_on, why_ended

_FINAL = frozenset(map(int, FINAL))


class MemoryDependencies(MemoryBase, DependencyOperations):
    """See `DependencyOperations`; links are made by `create_tasks`."""

    def resolve_dependencies(self, after_parent: int = 0, limit: int = 500) -> Resolution:
        """Take one step: settle edges of ended parents, move children."""
        limit = checked_limit(limit)
        tables = self._tables
        moved: dict[Move, list[int]] = defaultdict(list)
        with self._transaction as now:
            parents = tables.edges.open_parents(after_parent, limit)
            if not parents:
                return Resolution()
            ended = [
                parent
                for parent in parents
                if parent not in tables.rows or tables.rows[parent].status in _FINAL
            ]
            found = chain.from_iterable(map(tables.edges.open_children, ended))
            edges = list(islice(found, limit))
            wanted = {edge.parent_id for edge in edges}
            by_child = {
                child_id: [
                    edge for edge in tables.edges.open_of(child_id) if edge.parent_id in wanted
                ]
                for child_id in {edge.child_id for edge in edges}
            }
            # All are judged before any of them moves: a child that ends is another's parent.
            judged = {
                child_id: [self._judge(edge) for edge in some]
                for child_id, some in by_child.items()
            }
            for child_id in sorted(judged):
                for edge, seen in zip(by_child[child_id], judged[child_id], strict=True):
                    tables.edges.settle(edge, seen.outcome)
                row = tables.rows[child_id]
                if row.status != TaskStatus.WAITING:
                    continue
                policy = by_child[child_id][0].policy
                left = len(tables.edges.open_of(child_id))
                decided = decide(policy, judged[child_id], left)
                move_on(tables, row, decided, now)
                moved[decided[0]].append(child_id)
        next_parent = parents[-1] if len(parents) == limit else None
        if len(edges) == limit:
            next_parent = edges[-1].parent_id - 1  # it may have more
        return Resolution(
            tuple(moved[Move.RELEASE]),
            tuple(moved[Move.CANCEL]),
            tuple(moved[Move.FAIL]),
            waiting=True,
            next_parent=next_parent,
        )

    def dependencies(self, child_id: int) -> list[Dependency]:
        """Return the links of a task to its parents, by position."""
        with self._transaction:
            edges = self._tables.edges.parents.get(child_id, {})
            return sorted(edges.values(), key=attrgetter("position"))

    def children(self, parent_id: int, after_child: int = 0, limit: int = 1000) -> list[Dependency]:
        """Return links to up to ``limit`` children with task id > ``after_child``."""
        edges = self._tables.edges
        with self._transaction:
            ids = sorted(item for item in edges.children.get(parent_id, ()) if item > after_child)
            return [edges.parents[child_id][parent_id] for child_id in ids[:limit]]

    def parent_results(self, child_id: int) -> list[ParentResult]:
        """Return what became of the tasks that ``after`` named, in its order."""
        rows = self._tables.rows
        found: list[ParentResult] = []
        with self._transaction:
            edges = self._tables.edges.parents.get(child_id, {})
            for edge in sorted(edges.values(), key=attrgetter("position")):
                if edge.outcome is DependencyOutcome.SPAWNED:
                    continue
                row = rows.get(edge.parent_id)
                name, result = ("", None) if row is None else (row.metadata_id, row.result)
                found.append(ParentResult(edge.parent_id, name, edge.outcome, result))
        return found

    def _judge(self, edge: Dependency) -> Edge:
        """Return an open link of an ended parent with what became of that."""
        row = self._tables.rows.get(edge.parent_id)
        if row is None:
            return Edge(edge.parent_id, edge.position, DependencyOutcome.MISSING, "")
        outcome = outcome_of(row.status, row.result_code)
        why = why_ended(self._tables, row)
        return Edge(edge.parent_id, edge.position, outcome, row.metadata_id, why)
