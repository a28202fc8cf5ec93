"""Running a scenario once for each point at which a process could die in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, TypeVar

from mqtasks.app import MQTasks, Task
from mqtasks.errors import MQTasksError
from mqtasks.testing.assertions import code_of
from mqtasks.testing.crash import EVERY_POINT, Crash, Point
from mqtasks.testing.modes import manual
from mqtasks.testing.tester import TaskTester

S = TypeVar("S")


def every_crash_point(
    app: MQTasks,
    scenario: Callable[[TaskTester], S],
    invariant: Callable[[S], object],
    *,
    task: Task[..., Any] | int | str | None = None,
    points: Sequence[Point] = EVERY_POINT,
    limit: int = 1000,
    **options: Any,
) -> int:
    """Prove that a scenario survives a crash anywhere; return how many crashes were tried.

    ``scenario(tester)`` prepares its state from scratch, enqueues, and returns that state. Then
    all tasks are run, what is scheduled too, and ``invariant(state)`` is called; it asserts, or
    returns False. This is done once without a crash, then once for every single place at which
    the process of a runner could die, or stand still for too long: before and after each execution,
    after each commit and each step, of ``task`` or of all. ``options`` are those of `manual`.

    Raises AssertionError, which names the crash that the invariant does not survive, and
    MQTasksError after ``limit`` runs or for tasks that never come to an end.
    """
    _run(app, scenario, invariant, None, options)
    executor = None if task is None else code_of(task)
    tried = 0
    for point in points:
        for passed in count():
            plan = Crash(point, executor=executor, skip=passed)
            _run(app, scenario, invariant, plan, options)
            if not plan.happened:
                break
            tried += 1
            if tried > limit:
                raise MQTasksError(
                    f"more than {limit} crash points (limit): make the scenario smaller"
                )
    return tried


def _run(
    app: MQTasks,
    scenario: Callable[[TaskTester], S],
    invariant: Callable[[S], object],
    plan: Crash | None,
    options: dict[str, Any],
) -> None:
    __tracebackhide__ = True
    with manual(app, **options) as tester, tester.crashing(plan):
        state = scenario(tester)
        tester.exhaust()
        where = "without any crash"
        if plan is not None and plan.happened:
            where = f"after a crash {plan.victims[0]}"
        try:
            holds = invariant(state)
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
        if holds is False:
            raise AssertionError(f"{where}: the invariant does not hold")
