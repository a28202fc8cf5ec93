"""The testing kit with what else an application uses: plans, windows, middlewares, frameworks."""

from __future__ import annotations

import subprocess
import sys
import unittest
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mqtasks import MQTasks, TaskCanceled, TaskFailed, TaskStatus, chain, group
from mqtasks.testing import TaskTester, every_crash_point, inline, manual
from mqtasks.worker import current_context
from tests.testing import shop

app = MQTasks("mysql://nobody@127.0.0.1:1/nothing")


@app.task
def one(n: int) -> int:
    if n < 0:
        raise ValueError("negative")
    return n


@app.task
def total() -> int:
    return sum(current_context().parent_results(int))


@app.task
def fan_out(count: int) -> None:
    context = current_context()
    members = context.enqueue_child(group(one.s(n) for n in range(count)))
    context.enqueue_child(total.s(), after=members)


def test_a_plan_runs_in_its_order() -> None:
    with manual(app) as tasks:
        handle = chain(group(one.s(n) for n in (1, 2, 3)), total.s()).enqueue()
        first = tasks.run_next()
        assert first is not None
        assert first.task == "one"

        report = tasks.drain()

        assert [run.task for run in report.ran] == ["one", "one", "total"]
        assert handle.result() == 6


def test_what_waits_for_others_is_reported() -> None:
    with manual(app) as tasks:
        handle = total.options(after=[one.options(delay=60).enqueue(1)]).enqueue()
        report = tasks.drain()
        assert (report.waiting, report.stuck) == ((handle.task_id,), ())
        assert f"task {handle.task_id}" in str(report)

        tasks.advance(60)
        assert tasks.drain().waiting == ()
        assert handle.result() == 1


def test_a_failure_cancels_what_waits_for_it() -> None:
    with manual(app) as tasks:
        handle = total.options(after=[one.enqueue(-1)]).enqueue()
        tasks.drain()

        with pytest.raises(TaskCanceled):
            handle.result()


def test_plans_run_inline() -> None:
    with inline(app) as tasks:
        handle = chain(one.s(4), total.s()).enqueue()
        assert handle.result(0) == 4

        fan_out.enqueue(3)
        assert [task.row.status for task in tasks.enqueued(total)] == [TaskStatus.COMPLETED] * 2


def test_children_are_made_once_at_every_crash_point() -> None:
    def scenario(tasks: TaskTester) -> list[int]:
        fan_out.enqueue(2)
        counts: list[int] = []
        tasks.drain()
        counts.extend(len(tasks.enqueued(task)) for task in (one, total))
        return counts

    assert every_crash_point(app, scenario, lambda counts: counts == [2, 1]) == 16


def test_equal_calls_are_one_task_until_time_has_passed(mqtasks_app: TaskTester) -> None:
    call = shop.note.options(unique_for=60)
    handles = [call.enqueue("x"), call.enqueue("x")]
    mqtasks_app.advance(61)
    handles.append(call.enqueue("x"))

    assert [handle.is_new for handle in handles] == [True, False, True]
    mqtasks_app.assert_enqueued(shop.note, count=2)


def test_a_deadline_ends_what_has_not_run_by_then(mqtasks_app: TaskTester) -> None:
    handle = shop.flaky.options(deadline=15).enqueue(2)
    held_back = shop.note.options(deadline=15).enqueue("x")
    shop.app.pause("executor", "note")
    mqtasks_app.assert_enqueued(shop.note, deadline=15)

    assert mqtasks_app.drain().retried
    mqtasks_app.advance(16)  # what no runner has ends a second later
    mqtasks_app.drain()

    for one in (handle, held_back):
        with pytest.raises(TaskFailed, match="deadline"):
            one.result()


def test_a_deadline_ends_what_runs_for_too_long(mqtasks_app: TaskTester) -> None:
    due = datetime.fromtimestamp(mqtasks_app.clock.now_ms() / 1000, UTC) + timedelta(minutes=1)

    @shop.app.task(name=f"long-{id(mqtasks_app)}", max_retry_times=5)
    def long() -> None:
        mqtasks_app.advance(61)
        current_context().check()

    long.options(deadline=due).enqueue()
    mqtasks_app.assert_enqueued(long, deadline=due)

    assert "deadline" in mqtasks_app.drain().failed[0].reason


def test_headers_can_be_expected(mqtasks_app: TaskTester) -> None:
    shop.note.options(headers={"trace": "1"}).enqueue("x")

    mqtasks_app.assert_enqueued(shop.note, headers={"trace": "1"})
    mqtasks_app.refute_enqueued(shop.note, headers={"trace": "2"})


def test_a_retry_on_chosen_errors(mqtasks_app: TaskTester) -> None:
    @shop.app.task(name=f"choosy-{id(mqtasks_app)}", max_retry_times=3, give_up_on=KeyError)
    def choosy(key: bool) -> None:
        raise KeyError("k") if key else ValueError("v")

    choosy.enqueue(key=True)
    choosy.enqueue(key=False)

    assert [run.ended for run in mqtasks_app.drain().ran] == ["failed", "retried"]


class CaseForUnittest(unittest.TestCase):
    """As a user of unittest writes it."""

    def setUp(self) -> None:
        self.tasks = self.enterContext(manual(app))

    def check(self) -> None:
        handle = one.enqueue(5)
        self.tasks.assert_enqueued(one, 5)
        self.tasks.drain()
        assert handle.result() == 5


def test_it_works_in_unittest() -> None:
    result = CaseForUnittest("check").run()

    assert result is not None
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])


DJANGO = """
import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[],
)
django.setup()

from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase
from django.test.utils import get_runner

from mqtasks import MQTasks
from mqtasks.integrations.django import enqueue
from mqtasks.testing import inline, manual

app = MQTasks("mysql://nobody@127.0.0.1:1/nothing")
sent = []

@app.task
def send(to: str) -> None:
    with connection.cursor() as cursor:  # the test's own connection, in its own thread
        cursor.execute("SELECT 1")
    sent.append(to)

class Hooks(TestCase):
    def setUp(self):
        sent.clear()
        self.tasks = self.enterContext(manual(app))

    def test_commit(self):
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            enqueue(send, ("ada",))
            self.tasks.refute_enqueued(send)
        self.tasks.assert_enqueued(send, "ada")
        self.tasks.drain()
        self.assertEqual(sent, ["ada"])

    def test_rollback(self):
        with self.captureOnCommitCallbacks(execute=True):
            try:
                with transaction.atomic():
                    enqueue(send, ("ada",))
                    raise LookupError
            except LookupError:
                pass
        self.tasks.refute_enqueued(send)

class Commits(TransactionTestCase):
    available_apps = []

    def test_inline(self):
        sent.clear()
        with inline(app):
            with transaction.atomic():
                enqueue(send, ("bob",))
                self.assertEqual(sent, [])
            self.assertEqual(sent, ["bob"])

if __name__ == "__main__":
    import unittest

    runner = get_runner(settings)(verbosity=0)
    suite = unittest.defaultTestLoader.loadTestsFromModule(__import__("__main__"))
    config = runner.setup_databases()
    result = runner.run_suite(suite)
    runner.teardown_databases(config)
    print("passed", result.testsRun - len(result.failures) - len(result.errors))
"""


def test_it_works_in_django_tests(tmp_path: Path) -> None:
    pytest.importorskip("django")
    script = tmp_path / "tests.py"
    script.write_text(DJANGO)

    answer = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )

    assert "passed 3" in answer.stdout, answer.stdout + answer.stderr
