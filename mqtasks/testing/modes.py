"""The two ways in: tasks that wait to be drained, and tasks that run when they are enqueued."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from mqtasks.app import MQTasks
from mqtasks.config import Settings
from mqtasks.testing.tester import TaskTester


def manual(
    app: MQTasks,
    *,
    url: str = "memory://",
    start: datetime | None = None,
    settings: Settings | None = None,
    labels: Mapping[str, str] | None = None,
    resources: Mapping[str, float] | None = None,
) -> TaskTester:
    """Return a `TaskTester` under which tasks run when the test drains them.

    Use it in a ``with`` statement; no server is asked, and the application's own connection comes
    back afterwards. ``url`` names another storage, ``sqlite:///tasks.db`` say, for tests with
    transactions of theirs; what is in it already stays. ``start`` is the time at which the clock
    stands, by default the present. ``settings`` are taken over, but for url and redis. The worker
    offers what the tasks registered with the application ask for; ``labels`` and ``resources`` add
    to that.
    """
    return TaskTester(
        app, url=url, start=start, settings=settings, labels=labels, resources=resources
    )


def inline(
    app: MQTasks,
    *,
    raise_errors: bool = True,
    url: str = "memory://",
    start: datetime | None = None,
    settings: Settings | None = None,
    labels: Mapping[str, str] | None = None,
    resources: Mapping[str, float] | None = None,
) -> TaskTester:
    """As `manual`, but ``enqueue`` runs the task, and what that enqueues, before it returns.

    What is delayed, or retried later, runs in `TaskTester.advance`. With ``raise_errors`` the
    exception of a task that ends FAILED comes out of the call that ran it.
    """
    return TaskTester(
        app,
        run_inline=True,
        raise_errors=raise_errors,
        url=url,
        start=start,
        settings=settings,
        labels=labels,
        resources=resources,
    )
