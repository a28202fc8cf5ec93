"""Plans: calls that depend on each other, written down before any of them is created.

A plan becomes one batch of rows, created together or not at all. Which task waits for which is
told by metadata ids, which follow from the id of the plan; so enqueueing a plan again under its
id, after an unknown outcome say, makes nothing new.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

import msgspec

from mqtasks.app.dependence import parent_ids
from mqtasks.app.handle import TaskHandle
from mqtasks.app.ids import new_metadata_id
from mqtasks.errors import InvalidArgument
from mqtasks.model import Created, NewTask, checked_id
from mqtasks.model.draft import Draft, member_id
from mqtasks.service import TaskService

if TYPE_CHECKING:
    from mqtasks.app.call import Call

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
H = TypeVar("H")
H_co = TypeVar("H_co", covariant=True)

MAX_EDGES: Final = 100_000
"""Most dependencies of one plan: each task of a group that follows a group waits for all of it."""

Finish = Callable[[Sequence[Created]], H]


class Plan(ABC, Generic[H_co]):
    """Tasks that are not created yet: one call, a `chain` or a `group`. Immutable.

    ``H_co`` is what `enqueue` returns: a handle, or a list with what each member of a group gives.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def label(self) -> str:
        """What names it in a child's id: the executor code, or the kind of plan."""

    def then(self, following: Plan[H]) -> Chain[H]:
        """Return a plan that begins ``following`` when all of this one has succeeded.

        What happens after a failure is an option of what follows: ``on_failure``.
        """
        return Chain((self, following))

    def enqueue(
        self,
        *,
        id: str | None = None,  # noqa: A002 - the field's name everywhere
        after: Sequence[TaskHandle[Any] | str] = (),
        connection: Any = None,
    ) -> H_co:
        """Create all tasks of the plan, in one transaction; they are committed on return.

        The last task, if the plan ends with a single one, has the metadata id ``id``; the others
        are ``<id>/<n>``, counted from 0 in the order in which they were written down, and have
        ``id`` as their ``parent_task_id``. What a call's own options name stays as it is. For None
        a random id is made. Enqueueing a plan twice under one id creates it once: if what it ends
        with is stored nothing is created, of a plan of another shape neither. ``after`` are
        tasks that must have succeeded before it begins, as in `Task.options`, and ``connection``
        is one of yours, with an open transaction.

        Raises InvalidArgument if a task of the plan is stored already, and what it ends with is
        not: nothing was created then. Also if two tasks have one id, for more than `MAX_EDGES`
        dependencies, for members of several applications or on several connections, and for an
        ``after`` that names a task which is not stored.
        """
        draft = self.draft(id, after=after, connection=connection)
        if not draft.tasks:
            return draft.handles(())
        service = self._one_service()
        if draft.connection is None:
            created = service.create_tasks(draft.tasks)
        else:
            created = service.create_tasks_in(draft.connection, draft.tasks)
        return draft.handles(created)

    async def aenqueue(
        self,
        *,
        id: str | None = None,  # noqa: A002 - the field's name everywhere
        after: Sequence[TaskHandle[Any] | str] = (),
    ) -> H_co:
        """As `enqueue`, in a thread, so that an event loop goes on meanwhile."""
        for call in self._calls():
            call.check_thread()
        return await asyncio.to_thread(self.enqueue, id=id, after=after)

    def draft(
        self,
        id: str | None = None,  # noqa: A002 - the field's name everywhere
        *,
        parent: str = "",
        after: Sequence[TaskHandle[Any] | str] = (),
        connection: Any = None,
    ) -> Draft[H_co]:
        """Return the rows that `enqueue` would create; raises what it raises before it writes.

        ``parent`` is the metadata id of the task that makes them, if one does.
        """
        if id is not None:
            checked_id("id", id)
        builder = _Builder(id)
        _, finish = self.build(builder, parent_ids(after), last=True)
        tasks = builder.finished(parent)
        return Draft(tasks, finish, builder.same, self._one_connection(connection))

    @abstractmethod
    def build(
        self, builder: _Builder, after: tuple[str, ...], *, last: bool
    ) -> tuple[tuple[str, ...], Finish[H_co]]:
        """Add the plan's tasks, which begin after those named; return the names of its ends.

        The second answer makes what `enqueue` returns. For plans that hold this one.
        """

    @abstractmethod
    def leaves(self) -> Iterable[PlannedCall[Any]]:
        """Yield the single calls, in the order in which they were written down."""

    def _calls(self) -> Iterable[Call[..., Any]]:
        """Yield what the single calls were made of, each once."""
        return {id(leaf.call): leaf.call for leaf in self.leaves()}.values()

    def _one_service(self) -> TaskService:
        services = {call.service for call in self._calls()}
        if len(services) > 1:
            raise InvalidArgument("plan", self, "has tasks of several applications: make it two")
        return services.pop()

    def _one_connection(self, given: Any) -> Any:
        chosen = [call.connection for call in self._calls()] + [given]
        connections = {id(item): item for item in chosen if item is not None}
        if len(connections) > 1:
            raise InvalidArgument("connection", given, "is not the one that another member names")
        return next(iter(connections.values()), None)


class PlannedCall(Plan[TaskHandle[R_co]], Generic[R_co]):
    """One call of a task, with its arguments; made by `Task.s`."""

    __slots__ = ("call", "context")

    def __init__(self, call: Call[..., R_co], context: bytes) -> None:
        """Keep what to call; users call `Task.s`."""
        self.call: Final = call
        self.context: Final = context

    @property
    def label(self) -> str:
        """The executor code."""
        return str(self.call.code)

    def build(
        self, builder: _Builder, after: tuple[str, ...], *, last: bool
    ) -> tuple[tuple[str, ...], Finish[TaskHandle[R_co]]]:
        """Add the tasks; see `Plan.build`."""
        call = self.call
        name = builder.name(call.id, last=last)
        at = builder.add(call.new_task(name, self.context, after), call)

        def finish(created: Sequence[Created]) -> TaskHandle[R_co]:
            return call.handle(name, created[at])

        return (name,), finish

    def leaves(self) -> Iterable[PlannedCall[Any]]:
        """Yield the single calls; see `Plan.leaves`."""
        yield self

    def __repr__(self) -> str:
        """Return the executor code; arguments may be secret."""
        return f"{self.call.code}.s(...)"


class Chain(Plan[H_co], Generic[H_co]):
    """Plans one after the other; made by `chain` and `Plan.then`."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Plan[Any]]) -> None:
        """Keep at least one plan; users call `chain`."""
        flat: list[Plan[Any]] = []
        for part in parts:
            # A chain within a chain is the same chain; flat ones do not recurse when they are long.
            flat += part.parts if isinstance(part, Chain) else (_checked(part),)
        if not flat:
            raise InvalidArgument("parts", parts, "a chain has at least one plan")
        self.parts: Final[tuple[Plan[Any], ...]] = tuple(flat)

    @property
    def label(self) -> str:
        """``chain``."""
        return "chain"

    def build(
        self, builder: _Builder, after: tuple[str, ...], *, last: bool
    ) -> tuple[tuple[str, ...], Finish[H_co]]:
        """Add the tasks; see `Plan.build`."""
        final = self.parts[-1]
        for part in self.parts[:-1]:
            after, _ = part.build(builder, after, last=False)
        return final.build(builder, after, last=last)

    def leaves(self) -> Iterable[PlannedCall[Any]]:
        """Yield the single calls; see `Plan.leaves`."""
        for part in self.parts:
            yield from part.leaves()

    def __repr__(self) -> str:
        """Return how long it is."""
        return f"Chain of {len(self.parts)}"


class Group(Plan[list[H_co]], Generic[H_co]):
    """Plans side by side; made by `group`."""

    __slots__ = ("members",)

    def __init__(self, members: Iterable[Plan[H_co]]) -> None:
        """Keep the members; users call `group`."""
        self.members: Final = tuple(_checked(member) for member in members)

    @property
    def label(self) -> str:
        """``group``."""
        return "group"

    def build(
        self,
        builder: _Builder,
        after: tuple[str, ...],
        *,
        last: bool,  # noqa: ARG002 - none is
    ) -> tuple[tuple[str, ...], Finish[list[H_co]]]:
        """Add the tasks; see `Plan.build`."""
        ends: list[str] = []
        finishes: list[Finish[H_co]] = []
        for member in self.members:
            names, finish = member.build(builder, after, last=False)
            ends += names
            finishes.append(finish)

        def finish_all(created: Sequence[Created]) -> list[H_co]:
            return [finish(created) for finish in finishes]

        # Nothing stands between what comes before an empty group and what comes after it.
        return (tuple(ends) if self.members else after), finish_all

    def leaves(self) -> Iterable[PlannedCall[Any]]:
        """Yield the single calls; see `Plan.leaves`."""
        for member in self.members:
            yield from member.leaves()

    def __repr__(self) -> str:
        """Return how many members it has."""
        return f"Group of {len(self.members)}"


@overload
def chain(*parts: *tuple[*tuple[Plan[Any], ...], Plan[H]]) -> Chain[H]: ...


@overload
def chain(first: Plan[H], /, *others: Plan[H]) -> Chain[H]: ...


def chain(*parts: Any) -> Chain[Any]:  # type: ignore[misc]  # mypy cannot compare it with *tuple
    """Return a plan of plans one after the other; each begins when the one before has succeeded.

    Of a group all members must have. Raises InvalidArgument for no plan at all.
    """
    return Chain(parts)


def group(members: Iterable[Plan[H]]) -> Group[H]:
    """Return a plan of plans side by side; what follows it begins when all of them have succeeded.

    A group may be empty: what follows it then begins as if it were not there. It has any size if
    nothing follows it; what does waits for 10,000 tasks at most. See `MAX_EDGES` for a group that
    follows a group.
    """
    return Group(members)


class _Builder:
    """Collects the rows of one plan."""

    def __init__(self, plan_id: str | None) -> None:
        self._id = plan_id
        self._count = 0
        self._edges = 0
        self._tasks: list[NewTask] = []
        self._calls: list[Call[..., Any]] = []
        self._names: set[str] = set()

    def name(self, own: str | None, *, last: bool) -> str:
        """Return the metadata id of the next task."""
        if self._id is None and last and not self._tasks and own is not None:
            self._id = own  # a single call under its own name
        if self._id is None:
            self._id = new_metadata_id()
        number, self._count = self._count, self._count + 1
        return own or (self._id if last else member_id(self._id, number))

    def add(self, task: NewTask, call: Call[..., Any]) -> int:
        """Take a row; return its index."""
        name = task.metadata.id
        if name in self._names:
            raise InvalidArgument("id", name, "names two tasks of the plan")
        self._edges += len(task.after)
        if self._edges > MAX_EDGES:
            raise InvalidArgument(
                "plan",
                self._edges,
                f"has more than {MAX_EDGES} dependencies: where each task of a group waits for"
                " each of another, put a single task between the two",
            )
        self._names.add(name)
        self._tasks.append(task)
        self._calls.append(call)
        return len(self._tasks) - 1

    def finished(self, parent: str) -> Sequence[NewTask]:
        """Return the rows, made by the task ``parent`` if there is one.

        Where their options name no group, they are grouped by it, or else by the plan's id.
        """
        plan = self._id or ""
        return [
            msgspec.structs.replace(
                task,
                parent_task_id=task.parent_task_id or parent or self._group_of(task),
                child_of=parent,
                plan=plan if len(self._tasks) > 1 else "",
            )
            for task in self._tasks
        ]

    def _group_of(self, task: NewTask) -> str:
        plan_id = self._id or ""
        return "" if task.metadata.id == plan_id else plan_id

    def same(self, index: int, stored: bytes) -> bool:
        """Return whether a stored context says the same call as this task."""
        return self._calls[index].same_call(self._tasks[index].metadata.context, stored)


def _checked(plan: object) -> Plan[Any]:
    if isinstance(plan, Plan):
        return plan
    raise InvalidArgument("plan", plan, "must be a plan: task.s(...), chain(...) or group(...)")
