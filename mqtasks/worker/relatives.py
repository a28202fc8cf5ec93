"""What an executor has to do with other tasks: those it waited for, and those it makes.

Children get ids that follow from the parent's, counted by executor code in the order in which they
are made. A second execution of the parent, which makes the same calls in the same order, so makes
the same children. That is checked: an execution that would take an earlier one's child for another
call is refused before anything is written.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from mqtasks.errors import (
    InvalidArgument,
    InvalidTask,
    TaskCanceled,
    TaskFailed,
    TaskNotFound,
)
from mqtasks.model import Created, DependencyOutcome, NewTask, ParentResult, ResultCode
from mqtasks.model.draft import Draft, child_id
from mqtasks.payload import PayloadCodec
from mqtasks.registry import DEFAULT_CODEC
from mqtasks.service import TaskService
from mqtasks.worker.cancel import Canceller
from mqtasks.worker.held import Cancel, Held

H = TypeVar("H")
H_co = TypeVar("H_co", covariant=True)

RAISE: Final[Any] = object()
"""Says that a parent without a result is an error."""


class ChildPlan(Protocol[H_co]):
    """What can be enqueued by a running task; see `mqtasks.app.plan`."""

    @property
    def label(self) -> str:
        """What names it in its id: an executor code, or the kind of plan."""
        ...

    def draft(
        self,
        id: str | None = None,  # noqa: A002 - the field's name everywhere
        *,
        parent: str = "",
        after: Sequence[Any] = (),
    ) -> Draft[H_co]:
        """Return the rows to create, made by task ``parent``."""
        ...


class Relatives:
    """Other tasks, for all executions of a runner. Safe from many threads."""

    def __init__(
        self, runner_id: str, service: Callable[[], TaskService], canceller: Canceller
    ) -> None:
        self._runner_id = runner_id
        self._service = service
        self._canceller = canceller

    def parents(self, held: Held) -> list[ParentResult]:
        """Return what became of the tasks that this one waited for, in the order of ``after``."""
        return self._service().storage.parent_results(held.task_id)

    def create(self, held: Held, draft: Draft[Any]) -> list[Created]:
        """Create children; a task that is not this runner's any more is cancelled by it."""
        if held.epoch > 1:
            self._demand_same(draft)
        service = self._service()
        if draft.connection is not None:
            return service.create_tasks_in(draft.connection, draft.tasks)
        try:
            return service.create_children(self._runner_id, held.key, draft.tasks)
        except InvalidTask:
            self._canceller.cancel(held, Cancel.REASSIGNED)
            raise

    def _demand_same(self, draft: Draft[Any]) -> None:
        names = [task.metadata.id for task in draft.tasks]
        stored = self._service().storage.find(names)
        for at, name in enumerate(names):
            if name in stored and not draft.same(at, stored[name].metadata.context):
                raise InvalidArgument(
                    "child",
                    name,
                    "was made with other arguments by an earlier execution of this task: make"
                    " children in the same order each time, or name them by options(id=...)",
                )


class Offspring:
    """The children of one execution: counts them. Safe from many threads."""

    def __init__(self, held: Held, relatives: Relatives) -> None:
        self._held = held
        self._relatives = relatives
        self._lock = threading.Lock()
        self._made: Counter[str] = Counter()

    def prepare(
        self, plan: ChildPlan[H], after: Sequence[Any], *, here: bool = True
    ) -> Callable[[], H]:
        """Give a plan its id now; return what creates it, as often as it is called.

        ``here``: that is called in this thread. Raises InvalidArgument for a plan that must be.
        """
        parent = self._held.task.metadata.id
        with self._lock:
            number = self._made[plan.label]
            name = child_id(parent, plan.label, number)
            draft = plan.draft(name, parent=parent, after=after)
            if draft.connection is not None and not here:
                why = "stays in its own thread: use enqueue_child"
                raise InvalidArgument("connection", draft.connection, why)
            self._made[plan.label] += 1

        def create() -> H:
            tasks: Sequence[NewTask] = draft.tasks
            return draft.handles(self._relatives.create(self._held, draft) if tasks else ())

        return create


def values_of(
    parents: Sequence[ParentResult], codec: PayloadCodec | None, wanted: Any, default: Any
) -> list[Any]:
    """Return the parents' results as values; for one that has none ``default``, or raise."""
    codec = codec or DEFAULT_CODEC
    values: list[Any] = []
    for parent in parents:
        result = parent.result
        if (
            result is not None
            and result.code is ResultCode.SUCCESS
            and parent.outcome is DependencyOutcome.SUCCEEDED
        ):
            values.append(codec.decode_result(result.value, wanted))
        elif default is not RAISE:
            values.append(default)
        elif parent.outcome is DependencyOutcome.CANCELED:
            raise TaskCanceled(parent.parent_id)
        elif result is not None and result.code is ResultCode.FAILED:
            raise TaskFailed(parent.parent_id, result.error)
        else:
            raise TaskNotFound(parent.parent_id)
    return values
