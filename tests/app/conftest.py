"""An application on each storage."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mqtasks import MQTasks


@pytest.fixture(params=["memory", "sqlite", "mysql"])
def app(request: pytest.FixtureRequest) -> Iterator[MQTasks]:
    """An application on memory, SQLite and MySQL; files that need another one define it."""
    url = (
        "memory://"
        if request.param == "memory"
        else request.getfixturevalue(f"{request.param}_url")
    )
    with MQTasks(url) as made:
        yield made


@pytest.fixture
def local() -> Iterator[MQTasks]:
    """An application on memory alone, for what no storage can change."""
    with MQTasks("memory://") as made:
        yield made
