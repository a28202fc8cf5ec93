"""How a runner's heartbeat and the leader's snapshot become Redis hashes, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mqtasks.coordination.base import RunnerBeat

RUNNER_FIELDS: Final = RunnerBeat.__struct_fields__
"""Fields of a runner hash, in order; ``docs/reference/redis-keys.md`` explains each."""

STATS_FIELDS: Final = (
    "leader",
    "term",
    "at_ms",
    "version",
    "runners",
    "slots",
    "free_slots",
    "scheduled",
    "created",
    "running",
    "cancel_requested",
    "waiting",
    "oldest_created_s",
    "created_per_s",
    "completed_per_s",
    "failed_per_s",
)
"""Fields the leader publishes for the whole installation; the page explains these, too."""

EXECUTOR_STATS_FIELDS: Final = ("executor:{code}:created", "executor:{code}:running")
"""Fields it publishes for each executor that has such tasks; ``code`` in its stored form."""

_JSON_FIELDS: Final = frozenset({"executors", "labels"})
_to_json = msgspec.json.Encoder(order="deterministic").encode


def runner_to_hash(beat: RunnerBeat) -> dict[str, str | bytes | int | float]:
    """Return the hash of a beat: text and numbers as they are, lists and mappings as JSON."""
    return {
        name: _to_json(getattr(beat, name)) if name in _JSON_FIELDS else getattr(beat, name)
        for name in RUNNER_FIELDS
    }


def runner_from_hash(fields: Mapping[bytes, bytes]) -> RunnerBeat | None:
    """Return the beat of a hash, or None if something else wrote that hash.

    Missing fields take their defaults and unknown ones are ignored, so that versions mix.
    """
    values: dict[str, Any] = {}
    try:
        for name in RUNNER_FIELDS:
            raw = fields.get(name.encode())
            if raw is not None:
                values[name] = msgspec.json.decode(raw) if name in _JSON_FIELDS else raw.decode()
        return msgspec.convert(values, RunnerBeat, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def stats_from_hash(fields: Mapping[bytes, bytes]) -> dict[str, str | int | float]:
    """Return a snapshot with numbers where values look like numbers."""
    return {name.decode(): _number(value.decode()) for name, value in fields.items()}


def _number(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
