"""When the steps come that end tasks which do not give up."""

from __future__ import annotations

import pytest

from mqtasks.worker.held import Cancel, Phase
from tests.worker.rig import Rig


@pytest.mark.parametrize("patience", [0.0, 0.5])
def test_a_task_that_has_not_begun_is_looked_at_now_and_then(patience):
    """Its start is being written, say, and the database is away: nothing else may wait for it."""
    rig = Rig(abort_timeout=patience, cancel_timeout=patience)
    rig.give()
    (held,) = rig.hand.submitted
    assert rig.parts.canceller.cancel(held, Cancel.CANCELED)
    rig.clock.advance(patience)
    for _ in range(3):
        rest = rig.parts.escalation.run_once()
        assert 0 < rest <= max(patience, 0.1)
        rig.clock.advance(rest)
    held.phase = Phase.ENDED
    assert rig.parts.escalation.run_once() == float("inf")
