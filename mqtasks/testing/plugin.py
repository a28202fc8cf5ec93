"""The pytest plugin: fixture ``mqtasks_app``, ini option ``mqtasks_app``, marker ``mqtasks``.

Loaded by every pytest run of an environment with mqtasks in it, so it imports nothing of mqtasks
before a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mqtasks.app import MQTasks
    from mqtasks.testing.tester import TaskTester


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option."""
    parser.addini("mqtasks_app", "MODULE:APP of the application that the fixture lends a worker.")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "mqtasks(inline=False, **options): how the fixture mqtasks_app runs tasks; options are"
        " those of mqtasks.testing.manual, or inline.",
    )


@pytest.fixture
def mqtasks_application(request: pytest.FixtureRequest) -> MQTasks:
    """The application under test, found by the ini option; override it where that does not do."""
    name = request.config.getini("mqtasks_app")
    if not name:
        pytest.fail(
            "the fixture mqtasks_app must know the application: set the ini option"
            ' mqtasks_app = "MODULE:APP", or override the fixture mqtasks_application',
            pytrace=False,
        )
    from mqtasks.cli.apps import load_app

    return load_app(name)


@pytest.fixture
def mqtasks_app(
    request: pytest.FixtureRequest, mqtasks_application: MQTasks
) -> Iterator[TaskTester]:
    """A `TaskTester` of the application: its tasks run when the test says so, without a server."""
    from mqtasks.testing.modes import inline, manual

    marker = request.node.get_closest_marker("mqtasks")
    options = {} if marker is None else dict(marker.kwargs)
    make = inline if options.pop("inline", False) else manual
    with make(mqtasks_application, **options) as tester:
        yield tester
