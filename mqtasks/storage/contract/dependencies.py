"""Tasks that wait for others: resolving what they wait for, and looking at it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from mqtasks.model import Dependency, ParentResult


class Resolution(msgspec.Struct, frozen=True):
    """What one step of `resolve_dependencies` did, as task ids.

    After an unknown commit the repeated step may leave out what the first try did: whoever wants
    to know how a task ended looks at the task.
    """

    released: tuple[int, ...] = ()
    """Now CREATED, or SCHEDULED."""
    canceled: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    waiting: bool = False
    """Whether this step looked at any parent that is waited for."""
    next_parent: int | None = None
    """Where the next step starts; None: the pass is complete."""


class DependencyOperations(ABC):
    """Links between tasks; they are made by `TaskRecords.create_tasks`.

    An edge is open from the creation of its child until it is resolved, or until the child ends.
    It is resolved by looking at states, never by events: whatever dies between two statements, the
    next step finds what is left to do. Edges of a child are written only by the transaction that
    creates it, or under a lock on its row.
    """

    @abstractmethod
    def resolve_dependencies(self, after_parent: int = 0, limit: int = 500) -> Resolution:
        """Take one step: look at parents, settle edges of ended ones, move children (S12).

        Looks at up to ``limit`` (>= 1; at most 2,000 are taken) parents that open edges name, with
        task id > ``after_parent``, in the order of their ids. While none of them has ended this
        costs two index reads. Then settles up to ``limit`` edges of those that have
        ended or are not stored any more, in one transaction that locks children and parents in
        the order of their ids and judges both again. A child that is still WAITING

        * ends as its `FailurePolicy` says, if that is not RUN and a parent ended badly: CANCELED
          with an attempt row (CANCELED, epoch 0) that names the parent, or COMPLETED, FAILED with
          that as its error; its other open edges are dropped;
        * is released, once none of its edges is open: SCHEDULED if its ``run_at`` (now +
          delay_duration where none was given) is in the future, else CREATED.

        A pass is steps until ``next_parent`` is None. What ends in a step is seen, as a parent of
        others, by the next pass. Any number may run at once, each child moves once.
        """

    @abstractmethod
    def dependencies(self, child_id: int) -> list[Dependency]:
        """Return the links of a task to its parents, by position."""

    @abstractmethod
    def children(self, parent_id: int, after_child: int = 0, limit: int = 1000) -> list[Dependency]:
        """Return links to up to ``limit`` children with task id > ``after_child``, by task id.

        Those that wait, or waited, for the task, and those made with ``child_of``.
        """

    @abstractmethod
    def parent_results(self, child_id: int) -> list[ParentResult]:
        """Return what became of the tasks that ``after`` named, in its order.

        Their rows are kept until the child has ended, however short their retention.
        """
