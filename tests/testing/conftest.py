"""The shop under test: its tasks run when a test says so."""

from __future__ import annotations

import pytest

from mqtasks import MQTasks
from tests.testing import shop


@pytest.fixture
def mqtasks_application() -> MQTasks:
    shop.events.clear()
    return shop.app
