"""Random operations on a SQL storage and on memory: same answers, same rows, step by step.

Deterministic: the same examples in every run. To look for others, drop ``derandomize``.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from mqtasks.clock import ManualClock
from mqtasks.storage.contract import TaskStorage
from tests.support.backends import MAKERS, SQL_BACKENDS
from tests.support.rules.cron import CronRules
from tests.support.rules.deadlines import DeadlineRules
from tests.support.rules.links import LinkRules
from tests.support.rules.queue import QueueRules
from tests.support.rules.records import RecordRules
from tests.support.rules.runners import RunnerRules
from tests.support.rules.steps import StepRules
from tests.support.rules.windows import WindowRules

EXAMPLES = {"sqlite": 40, "mysql": 20}
"""Of each mixture below; nearly all the time goes into commits."""
STEPS = 30


class Work(RecordRules, QueueRules, StepRules, WindowRules, DeadlineRules):
    """What happens while nobody is lost."""


class Loss(QueueRules, RunnerRules):
    """What happens to running tasks when runners come and go."""


class Waiting(LinkRules, QueueRules, RecordRules, DeadlineRules):
    """What becomes of tasks that wait for others."""


class Everything(
    RecordRules,
    QueueRules,
    RunnerRules,
    CronRules,
    StepRules,
    LinkRules,
    WindowRules,
    DeadlineRules,
):
    """All operations."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rules", [Work, Loss, Waiting, CronRules, Everything])
@pytest.mark.parametrize("name", SQL_BACKENDS)
def test_a_sql_storage_behaves_as_memory_does(request, name, rules):
    backend = MAKERS[name](request)

    def open_subject(clock: ManualClock) -> TaskStorage:
        backend.empty()
        return backend.open(clock)

    run_state_machine_as_test(
        type(rules.__name__, (rules,), {"open_subject": staticmethod(open_subject)}),
        settings=settings(
            max_examples=EXAMPLES[name] // (3 if rules is Waiting else 1),
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
