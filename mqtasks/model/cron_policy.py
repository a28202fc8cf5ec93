"""What a cron task does about missed firings, about firings that overlap, and about failures."""

from __future__ import annotations

import re
from typing import Any, Final, Literal, TypeAlias

import msgspec

from mqtasks.errors import InvalidArgument

Misfire: TypeAlias = Literal["skip", "once", "all"]
Overlap: TypeAlias = Literal["allow", "skip", "queue_one", "cancel_running"]

MAX_MISFIRES: Final = 100_000
"""Highest `CronPolicy.misfire_limit`."""
MAX_AT_ONCE: Final = 1000
"""Highest `CronPolicy.concurrency`, and `pause_after_failures`."""
_LONGEST: Final = 10 * 366 * 86_400.0
_LATEST_MS: Final = 7_258_118_400_000
"""The year 2200, as for schedules."""
_FIELD: Final = re.compile(r"\$\.(\w+)")
_CHOICES: Final = {
    "misfire": ("skip", "once", "all"),
    "overlap": ("allow", "skip", "queue_one", "cancel_running"),
}


class CronPolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a cron task fires beside its schedule, and when not. Immutable."""

    misfire: Misfire = "once"
    """What becomes of firings that were missed: ``once`` makes up for all of them by the last one,
    ``all`` for each, ``skip`` for none. A firing is missed when it is due before the next look of
    any scheduler; under ``skip`` the last one still fires if it is less than a minute late."""
    misfire_limit: int = 1000
    """How many missed firings ``all`` makes up for, the latest ones; 1 to 100,000."""
    misfire_window: float = 3600.0
    """How long ago a firing may have been due to be made up for, seconds; up to ten years."""
    overlap: Overlap = "allow"
    """What a firing does while tasks of earlier ones have not ended: ``allow`` makes its task all
    the same, ``skip`` leaves this firing out, ``queue_one`` lets one task wait and leaves out what
    comes on top, ``cancel_running`` cancels the earlier ones and makes the new task."""
    concurrency: int = 0
    """How many of its tasks may run at once; 0 = with ``allow`` any number, otherwise one."""
    jitter: float = 0.0
    """Tasks are due up to this many seconds after the firing: always the same for one firing, so
    that all schedulers agree, and spread over firings and definitions. Up to a day."""
    start_at: int = 0
    """No firing before it; unix ms, 0 = no bound."""
    end_at: int = 0
    """No firing after it; unix ms, 0 = no bound."""
    pause_after_failures: int = 0
    """Pause the definition when its last so many tasks that ended have failed; 0 = never."""

    @property
    def at_once(self) -> int:
        """How many of its tasks may run at once; 0 = any number."""
        return self.concurrency or int(self.overlap != "allow")

    @property
    def looks_back(self) -> bool:
        """Whether deciding on a firing needs to know what became of earlier ones."""
        return self.overlap != "allow" or self.pause_after_failures > 0

    def validate(self) -> None:
        """Raise InvalidArgument for the first field that has no good value."""
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise InvalidArgument(
                    f"policy.{field}", getattr(self, field), f"use one of: {', '.join(choices)}"
                )
        try:
            msgspec.convert(msgspec.structs.asdict(self), CronPolicy)
        except msgspec.ValidationError as error:
            what, _, path = str(error).partition(" - at ")
            name = _FIELD.findall(path)[0]  # the path of every error starts with the field
            raise InvalidArgument(f"policy.{name}", getattr(self, name), what) from None
        bounds: dict[str, tuple[float, float]] = {
            "misfire_limit": (1, MAX_MISFIRES),
            "misfire_window": (0, _LONGEST),
            "concurrency": (0, MAX_AT_ONCE),
            "jitter": (0, 86_400),
            "start_at": (0, _LATEST_MS),
            "end_at": (0, _LATEST_MS),
            "pause_after_failures": (0, MAX_AT_ONCE),
        }
        for field, (least, most) in bounds.items():
            value = getattr(self, field)
            if not least <= value <= most:  # also refuses nan
                raise InvalidArgument(
                    f"policy.{field}", value, f"must be between {least:g} and {most:.0f}"
                )
        if self.end_at and self.end_at < self.start_at:
            raise InvalidArgument("policy.end_at", self.end_at, "must not be before start_at")


DEFAULT_POLICY: Final = CronPolicy()


def changed_policy(policy: CronPolicy, changes: dict[str, Any]) -> CronPolicy:
    """Return a policy with other values. Raises InvalidArgument, also for an unknown field."""
    known = CronPolicy.__struct_fields__
    for name in changes:
        if name not in known:
            raise InvalidArgument(
                "policy", name, f"has no such field; there are {', '.join(known)}"
            )
    changed = msgspec.structs.replace(policy, **changes)
    changed.validate()
    return changed
