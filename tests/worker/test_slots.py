"""What a runner announces after a commit, so that nobody waits for a poll."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mqtasks.model import DEFAULT_OPTIONS, SUCCESS, AttemptOutcome, TaskOptions
from mqtasks.worker.outcome import Failed, Released
from mqtasks.worker.slots import SlotNews


def ended(outcome, options=DEFAULT_OPTIONS):
    metadata = SimpleNamespace(options=options)
    return SimpleNamespace(outcome=outcome, task=SimpleNamespace(metadata=metadata))


def holdings(count: int) -> Any:
    """Return as much as a runner may hold; only how much it is counts here."""
    return [object()] * count


def failed(delay_ms):
    return Failed("no", "", AttemptOutcome.FAILED, delay_ms)


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (ended(SUCCESS), False),
        (ended(SUCCESS, TaskOptions(concurrency=1)), True),
        (ended(Released("shutdown")), True),
        (ended(failed(None)), False),
        (ended(failed(0)), True),
        (ended(failed(200)), True),
        (ended(failed(1_000)), False),
    ],
)
def test_a_runner_with_room_tells_of_what_else_would_wait_for_a_poll(held, told):
    calls = []
    SlotNews(holdings(0), 8, lambda: calls.append("told")).committed([held])
    assert bool(calls) is told


def test_a_full_runner_tells_of_the_room_it_has_again():
    calls = []
    SlotNews(holdings(7), 8, lambda: calls.append("told")).committed([ended(SUCCESS)])
    assert calls == ["told"]
