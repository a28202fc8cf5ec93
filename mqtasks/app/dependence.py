"""``after=`` and ``on_failure=``: what a task waits for, as users say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mqtasks.app.handle import TaskHandle
from mqtasks.errors import InvalidArgument
from mqtasks.model import FailurePolicy, checked_id


def parent_ids(after: Sequence[TaskHandle[Any] | str]) -> tuple[str, ...]:
    """Return the metadata ids of handles and ids; raises InvalidArgument for anything else."""
    if isinstance(after, str | bytes) or not isinstance(after, Sequence):
        raise InvalidArgument("after", after, "must be a list of handles and metadata ids")
    names: list[str] = []
    for item in after:
        if isinstance(item, TaskHandle):
            names.append(item.id)
        elif isinstance(item, str):
            names.append(checked_id("after", item))
        else:
            raise InvalidArgument(
                "after", item, "must be a handle or a metadata id; see `MQTasks.handle` for numbers"
            )
    return tuple(names)


def policy_named(name: object) -> FailurePolicy:
    """Return the policy that ``on_failure`` names; raises InvalidArgument for an unknown one."""
    for policy in FailurePolicy:
        if name == policy.name.lower():
            return policy
    known = ", ".join(repr(policy.name.lower()) for policy in FailurePolicy)
    raise InvalidArgument("on_failure", name, f"must be one of {known}")
