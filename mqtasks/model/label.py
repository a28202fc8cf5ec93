"""Rules about a runner's labels: what a task may ask for beside plain equality."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from mqtasks.errors import InvalidArgument

Operator: TypeAlias = Literal["in", "not", "exists"]


class LabelRule(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One rule about the label it is the value of. Made by `label`."""

    op: Operator
    values: tuple[str, ...] = ()


class LabelBuilder:
    """Makes rules for `TaskOptions.labels`; a plain string there means equality."""

    @staticmethod
    def in_(*values: str) -> LabelRule:
        """The runner's label must have one of these values."""
        return LabelRule("in", _some("label.in_", values))

    @staticmethod
    def not_(*values: str) -> LabelRule:
        """The runner's label must have none of these values; a runner without it will do."""
        return LabelRule("not", _some("label.not_", values))

    @staticmethod
    def exists() -> LabelRule:
        """The runner must have the label, whatever its value."""
        return LabelRule("exists")


label: Final = LabelBuilder()
"""``labels={"zone": label.in_("a", "b"), "kind": label.not_("spot"), "gpu": label.exists()}``"""


def _some(what: str, values: tuple[str, ...]) -> tuple[str, ...]:
    if not values or not all(isinstance(value, str) for value in values):
        raise InvalidArgument(what, values, "takes one or more values, each a string")
    return tuple(sorted(set(values)))
