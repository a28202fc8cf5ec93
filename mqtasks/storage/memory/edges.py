"""Links between tasks as the memory storage keeps them, and the index of those that are open."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from mqtasks.model import Dependency, DependencyOutcome
from mqtasks.storage.memory.ordered import Ordered


class Edges:
    """All links. The caller holds the storage's lock."""

    def __init__(self) -> None:
        self.parents: dict[int, dict[int, Dependency]] = {}
        """By child, then by parent."""
        self.children: dict[int, set[int]] = {}
        self._open: Ordered[tuple[int, int]] = Ordered()

    def add(self, edge: Dependency) -> None:
        """Store a new link."""
        self.parents.setdefault(edge.child_id, {})[edge.parent_id] = edge
        self.children.setdefault(edge.parent_id, set()).add(edge.child_id)
        if edge.outcome is DependencyOutcome.OPEN:
            self._open.add((edge.parent_id, edge.child_id))

    def settle(self, edge: Dependency, outcome: DependencyOutcome) -> None:
        """Write what became of the parent of an open link."""
        self._open.remove((edge.parent_id, edge.child_id))
        self.parents[edge.child_id][edge.parent_id] = replace(edge, outcome=outcome)

    def drop(self, child_id: int) -> None:
        """Let go of what a child still waits for: it has ended."""
        for edge in self.open_of(child_id):
            self.settle(edge, DependencyOutcome.DROPPED)

    def forget(self, child_id: int) -> None:
        """Remove the links of a child that is deleted."""
        for edge in self.parents.pop(child_id, {}).values():
            if edge.outcome is DependencyOutcome.OPEN:
                self._open.remove((edge.parent_id, child_id))
            children = self.children[edge.parent_id]
            children.discard(child_id)
            if not children:
                del self.children[edge.parent_id]

    def open_of(self, child_id: int) -> list[Dependency]:
        """Return the open links of a child."""
        edges = self.parents.get(child_id, {}).values()
        return [edge for edge in edges if edge.outcome is DependencyOutcome.OPEN]

    def open_parents(self, after: int, limit: int) -> list[int]:
        """Return up to ``limit`` parents > ``after`` that open links name, ascending."""
        found: list[int] = []
        while len(found) < limit:
            first = self._open.since((after + 1, 0), 1)
            if not first:
                break
            after = first[0][0]
            found.append(after)
        return found

    def open_children(self, parent_id: int) -> Iterator[Dependency]:
        """Yield the open links to children of a parent, by child."""
        for child_id in sorted(self.children.get(parent_id, ())):
            edge = self.parents[child_id][parent_id]
            if edge.outcome is DependencyOutcome.OPEN:
                yield edge
