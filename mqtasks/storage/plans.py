"""Plans as storages see them: batches whose tasks are all made by one call, or none of them.

One decision for every storage. Whether a plan is stored is told by its ends, the tasks that no
other one of it waits for; where they are, a second plan under its ids makes nothing, whatever its
shape. Where they are not, a task of it that is stored is somebody else's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mqtasks.errors import InvalidArgument
from mqtasks.model import Created, NewTask, checked_id


def check_plan(task: NewTask) -> None:
    """Raise InvalidArgument if a task cannot be part of the plan that it names."""
    checked_id("plan", task.plan)
    if task.unique_key:
        raise InvalidArgument("unique_key", task.unique_key, "cannot hold in a plan")


def is_plan(tasks: Sequence[NewTask]) -> bool:
    """Return whether a batch is a plan; raises InvalidArgument if only a part of it is one."""
    names = {task.plan for task in tasks}
    if len(names) > 1:
        shown = ", ".join(sorted(names))
        raise InvalidArgument("plan", shown, "a batch holds one plan and nothing else: make it two")
    return names != {""}


def stored_plan(tasks: Sequence[NewTask], known: Mapping[str, int]) -> dict[str, Created] | None:
    """Return the answer for each task of a plan that is stored; None if it has to be made.

    ``known`` are task ids of what is stored under its ids. An inner task that is not stored any
    more is answered with task id 0. Raises InvalidArgument if some of it is stored, but not all
    that it ends with. Of the children of a task that may be what pruning has left: they are made
    again, as single ones are, and `stored_plan` answers None.
    """
    waited_for = {name for task in tasks for name in task.after}
    names = [task.metadata.id for task in tasks]
    ends = [name for name in names if name not in waited_for]
    if not ends:
        return None  # a circle, which is refused
    missing = [name for name in ends if name not in known]
    if not missing:
        return {name: Created(known.get(name, 0), is_new=False) for name in names}
    strange = next((name for name in names if name in known), None)
    if strange is None or any(task.child_of for task in tasks):
        return None
    raise InvalidArgument(
        "id",
        strange,
        f"is stored already, but {missing[0]!r}, with which plan {tasks[0].plan!r} ends, is not:"
        " it is no task of this plan, or is left of one that was partly deleted. Nothing was"
        " created; give the plan another id, and name what it shall wait for by after=",
    )
