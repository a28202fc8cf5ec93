"""Manual mode: nothing runs before the test drains, and time stands still."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import UTC, datetime, timedelta

import pytest

from mqtasks import (
    MQTasks,
    MQTasksError,
    ResultTimeout,
    StorageUnavailable,
    TaskFailed,
    TaskStatus,
    as_completed,
    results,
)
from mqtasks.errors import InvalidArgument
from mqtasks.model import TaskMetadata
from mqtasks.testing import DrainReport, TaskTester, manual
from mqtasks.worker import current_context
from tests.testing import shop


def endings(report: DrainReport) -> list[str]:
    return [one.ended for one in report.ran]


def test_nothing_runs_before_the_drain(mqtasks_app: TaskTester) -> None:
    handle = shop.note.enqueue("x", loud=True)
    assert (shop.events, handle.status()) == ([], TaskStatus.CREATED)

    report = mqtasks_app.drain()

    assert (shop.events, handle.result()) == (["x"], "x!")
    assert [(one.task, one.epoch, one.ended) for one in report.ran] == [("note", 1, "succeeded")]
    assert not mqtasks_app.drain()


def test_a_drain_runs_what_its_tasks_enqueue(mqtasks_app: TaskTester) -> None:
    @shop.app.task(name=f"starter-{id(mqtasks_app)}")
    def starter() -> None:
        shop.note.enqueue("from a task")

    starter.enqueue()

    assert len(mqtasks_app.drain()) == 2
    assert shop.events == ["from a task"]


def test_the_higher_priority_runs_first(mqtasks_app: TaskTester) -> None:
    for priority in (0, 5, 1):
        shop.note.options(priority=priority).enqueue(priority)

    mqtasks_app.drain()

    assert shop.events == [5, 1, 0]


def test_run_next_runs_one(mqtasks_app: TaskTester) -> None:
    shop.note.enqueue_many([(1,), (2,)])

    ran = mqtasks_app.run_next()

    assert ran is not None
    assert (ran.task, ran.ended, shop.events) == ("note", "succeeded", [1])
    assert mqtasks_app.run_next() is not None
    assert mqtasks_app.run_next() is None


def test_delayed_tasks_wait_for_the_clock(mqtasks_app: TaskTester) -> None:
    shop.note.options(delay=timedelta(minutes=1)).enqueue("late")
    report = mqtasks_app.drain()
    assert [(one.task, one.seconds) for one in report.scheduled] == [("note", 60.0)]
    assert "note (task 1) due in 60 s" in str(report)

    mqtasks_app.advance(59.9)
    assert not mqtasks_app.drain()
    mqtasks_app.advance(0.1)
    assert mqtasks_app.drain()
    assert shop.events == ["late"]


def test_a_retry_waits_as_its_options_say(mqtasks_app: TaskTester) -> None:
    handle = shop.flaky.enqueue(2)
    waits = []
    while not handle.status().is_final:
        report = mqtasks_app.drain()
        for one in report.scheduled:
            waits.append(one.seconds)
            mqtasks_app.advance_to(one.at)

    assert (waits, shop.events, handle.result()) == ([10.0, 20.0], [0, 1, 2], 2)
    history = mqtasks_app.service.attempts(handle.task_id)
    assert [attempt.error for attempt in history] == [
        "ConnectionError: failure 1",
        "ConnectionError: failure 2",
    ]


def test_everything_can_be_run_to_its_end(mqtasks_app: TaskTester) -> None:
    handle = shop.flaky.options(delay=86_400).enqueue(2)

    report = mqtasks_app.exhaust()

    assert (endings(report), report.scheduled) == (["retried", "retried", "succeeded"], ())
    assert handle.result() == 2
    with pytest.raises(MQTasksError, match="after 0 moves"):
        mqtasks_app.exhaust(moves=0)


def test_a_report_tells_how_each_execution_ended(mqtasks_app: TaskTester) -> None:
    shop.flaky.options(max_retry_times=0).enqueue(1)
    shop.flaky.enqueue(1)
    shop.patient.enqueue()
    shop.note.enqueue("good")
    shop.events.clear()

    report = mqtasks_app.drain()

    assert sorted(endings(report)) == ["failed", "retried", "succeeded", "succeeded"]
    assert isinstance(report.failed[0].error, ConnectionError)
    assert report.failed[0].reason == "ConnectionError: failure 1"
    shop.events.clear()
    shop.patient.enqueue()
    assert endings(mqtasks_app.drain()) == ["snoozed"]


def test_the_exception_of_a_failed_task_can_be_raised(mqtasks_app: TaskTester) -> None:
    shop.flaky.enqueue(9)
    for seconds in (10, 20):
        mqtasks_app.drain(raise_errors=True)  # it is retried: nothing has failed for good
        mqtasks_app.advance(seconds)

    with pytest.raises(ConnectionError, match="failure 3"):
        mqtasks_app.drain(raise_errors=True)


def test_an_endless_drain_is_given_up(mqtasks_app: TaskTester) -> None:
    shop.endless.enqueue()

    with pytest.raises(MQTasksError, match=r"limit=20\), 20 of them 'endless'"):
        mqtasks_app.drain(limit=20)
    assert mqtasks_app.run_next() is not None


def test_a_drain_may_reach_its_limit(mqtasks_app: TaskTester) -> None:
    shop.note.enqueue_many([(n,) for n in range(20)])

    assert len(mqtasks_app.drain(limit=20)) == 20


def test_a_task_nobody_can_run_is_reported_as_stuck(mqtasks_app: TaskTester) -> None:
    mqtasks_app.service.create(TaskMetadata("x", "elsewhere", b""))
    shop.app.pause("executor", "note", "on purpose")
    shop.note.enqueue("held back")

    report = mqtasks_app.drain()

    reasons = {one.task: one.why for one in report.stuck}
    assert reasons["elsewhere"] == "the application has no task 'elsewhere'"
    assert "on purpose" in reasons["note"]
    shop.app.resume("executor", "note")
    assert endings(mqtasks_app.drain()) == ["succeeded"]


def test_a_result_asked_for_too_early_says_what_to_do(mqtasks_app: TaskTester) -> None:
    handle = shop.note.enqueue("x")

    with pytest.raises(MQTasksError, match=r"is CREATED, .* call drain\(\)"):
        handle.result(timeout=3600)
    with pytest.raises(MQTasksError, match="nothing runs by itself"):
        list(as_completed([handle]))
    with pytest.raises(ResultTimeout):
        handle.result(timeout=0)
    mqtasks_app.drain()
    assert results([handle]) == ["x"]


def test_a_task_may_wait_for_its_children(mqtasks_app: TaskTester) -> None:
    handle = shop.parent.enqueue("a", "b")

    report = mqtasks_app.drain()

    assert handle.result() == ["a", "b"]
    assert [one.task for one in report.ran] == ["note", "note", "parent"]


def test_limits_hold(mqtasks_app: TaskTester) -> None:
    seen: list[tuple[TaskStatus, ...]] = []

    @shop.app.task(name=f"alone-{id(mqtasks_app)}", concurrency=1)
    def alone(first: bool) -> None:
        if first:
            other = alone.enqueue(first=False)
            mqtasks_app.drain()
            seen.append((other.status(),))

    alone.enqueue(first=True)

    assert len(mqtasks_app.drain()) == 2
    assert seen == [(TaskStatus.CREATED,)]


def test_a_rate_waits_for_the_clock(mqtasks_app: TaskTester) -> None:
    for n in range(3):
        shop.note.options(rate_limit="1/m").enqueue(n)

    report = mqtasks_app.drain()
    assert (len(report), len(report.stuck)) == (1, 2)
    assert "rate" in report.stuck[0].why
    mqtasks_app.advance(60)
    assert len(mqtasks_app.drain()) == 1


def test_work_that_takes_longer_than_its_timeout_fails(mqtasks_app: TaskTester) -> None:
    @shop.app.task(name=f"slow-{id(mqtasks_app)}", timeout=30)
    def slow() -> None:
        mqtasks_app.advance(29)
        assert not current_context().cancelled
        mqtasks_app.advance(1)
        current_context().check()

    handle = slow.enqueue()
    mqtasks_app.drain()

    with pytest.raises(TaskFailed, match="timed out after 30 s"):
        handle.result()


def test_work_that_takes_longer_than_a_lease_keeps_it(mqtasks_app: TaskTester) -> None:
    @shop.app.task(name=f"long-{id(mqtasks_app)}")
    def long() -> int:
        mqtasks_app.advance(timedelta(days=1))
        mqtasks_app.drain()
        return current_context().epoch

    handle = long.enqueue()
    mqtasks_app.drain()

    assert handle.result() == 1


def test_a_running_task_sees_its_cancellation(mqtasks_app: TaskTester) -> None:
    seen: list[str] = []

    @shop.app.task(name=f"stoppable-{id(mqtasks_app)}")
    def stoppable() -> None:
        handle.cancel()
        mqtasks_app.advance(1)
        seen.append(current_context().cancel_reason)

    handle = stoppable.enqueue()

    assert endings(mqtasks_app.drain()) == ["canceled"]
    assert seen == ["canceled"]


def test_cron_fires_at_each_of_its_times(mqtasks_app: TaskTester) -> None:
    start = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
    with manual(shop.app, start=start) as tasks:
        tasks.service.create_cron_task(TaskMetadata("tick", "patient", b""), "*/10 * * * *")

        assert tasks.advance(3600).ran == ()
        due = [one.row.run_at for one in tasks.assert_enqueued(shop.patient, count=6)]

        first = int(datetime(2026, 3, 1, 12, 10, tzinfo=UTC).timestamp() * 1000)
        assert due == [first + n * 600_000 for n in range(6)]
        assert len(tasks.drain()) == 6


def test_ended_tasks_are_pruned_in_time(mqtasks_app: TaskTester) -> None:
    handle = shop.note.options(retention=60).enqueue("x")
    mqtasks_app.drain()
    mqtasks_app.advance(120)
    mqtasks_app.drain()

    assert handle.task_id not in [one.row.id for one in mqtasks_app.enqueued()]


def test_placement_finds_what_tasks_ask_for(mqtasks_app: TaskTester) -> None:
    @shop.app.task(
        name=f"demanding-{id(mqtasks_app)}",
        labels={"zone": "b"},
        resources={"gpu": 2},
        cpu=64,
        memory=2**36,
    )
    def demanding() -> None: ...

    demanding.enqueue()
    shop.note.options(labels={"kind": "spot"}).enqueue("elsewhere")

    report = mqtasks_app.drain()
    assert endings(report) == ["succeeded"]
    assert "labels" in report.stuck[0].why
    with manual(shop.app, labels={"kind": "spot"}, resources={"licence": 1}) as tasks:
        shop.note.options(labels={"kind": "spot"}, resources={"licence": 1}).enqueue("here")
        assert endings(tasks.drain()) == ["succeeded"]


def test_async_tasks_share_a_loop(mqtasks_app: TaskTester) -> None:
    loops = []

    @shop.app.task(name=f"looped-{id(mqtasks_app)}")
    async def looped() -> None:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)

    looped.enqueue()
    mqtasks_app.drain()
    looped.enqueue()
    mqtasks_app.drain()

    assert loops[0] is loops[1]


def test_a_coroutine_drains_on_its_own_loop(mqtasks_app: TaskTester) -> None:
    loops = []

    @shop.app.task(name=f"here-{id(mqtasks_app)}")
    async def here() -> None:
        loops.append(asyncio.get_running_loop())

    async def test() -> object:
        loops.append(asyncio.get_running_loop())
        handle = await shop.note.aenqueue("plain")
        await here.aenqueue()
        report = await mqtasks_app.adrain()
        assert len(report) == 2
        return await handle.aresult(1)

    assert asyncio.run(test()) == "plain"
    assert loops[0] is loops[1]


def test_a_plain_drain_works_while_a_loop_runs(mqtasks_app: TaskTester) -> None:
    async def test() -> list[str]:
        handles = [shop.anote.enqueue("async"), shop.note.enqueue("plain")]
        mqtasks_app.drain()
        return [await handle.aresult(1) for handle in handles]

    assert asyncio.run(test()) == ["async", "plain"]


def test_an_async_task_is_cancelled_by_its_timeout(mqtasks_app: TaskTester) -> None:
    @shop.app.task(name=f"sleepy-{id(mqtasks_app)}", timeout=5)
    async def sleepy() -> None:
        mqtasks_app.advance(5)
        await asyncio.Event().wait()

    handle = sleepy.enqueue()

    assert endings(mqtasks_app.drain()) == ["failed"]
    with pytest.raises(TaskFailed, match="timed out after 5 s"):
        handle.result()


def test_many_threads_enqueue_and_drain(mqtasks_app: TaskTester) -> None:
    def work(first: int) -> None:
        for n in range(first, first + 25):
            shop.note.enqueue(n)
        mqtasks_app.drain()

    threads = [threading.Thread(target=work, args=(n * 25,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mqtasks_app.drain()

    assert sorted(shop.events) == list(range(100))  # type: ignore[type-var]


def test_the_application_comes_back_as_it_was() -> None:
    app = MQTasks("sqlite:////nonexistent/folder/tasks.db")

    @app.task
    def one() -> int:
        return 1

    with manual(app) as outer:
        one.enqueue()
        with manual(app) as inner:
            assert inner.drain().ran == ()
        app.close()  # as a server's shutdown does; what was lent stays
        assert len(outer.drain()) == 1
    with pytest.raises(StorageUnavailable):
        one.enqueue()


def test_each_tester_starts_empty(mqtasks_app: TaskTester) -> None:
    shop.note.enqueue("left over")

    with manual(shop.app) as other:
        assert (other.enqueued(), other.drain().ran) == ([], ())


def test_time_can_be_chosen() -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    with manual(shop.app, start=start) as tasks:
        shop.note.options(at=start + timedelta(hours=1)).enqueue("x")

        assert [one.at for one in tasks.drain().scheduled] == [start + timedelta(hours=1)]
        tasks.advance_to(start + timedelta(hours=1))
        assert len(tasks.drain()) == 1


def test_moments_and_durations_are_checked(mqtasks_app: TaskTester) -> None:
    naive = datetime(2030, 1, 1)  # noqa: DTZ001 - what is refused

    with pytest.raises(InvalidArgument, match="by=-1"):
        mqtasks_app.advance(-1)
    with pytest.raises(InvalidArgument, match="aware"):
        mqtasks_app.advance_to(naive)
    with pytest.raises(InvalidArgument, match="aware"):
        manual(shop.app, start=naive)


@pytest.mark.parametrize("fixture", ["sqlite_url", "mysql_url"])
def test_another_storage_may_be_used(request: pytest.FixtureRequest, fixture: str) -> None:
    with manual(shop.app, url=request.getfixturevalue(fixture)) as tasks:
        handle = shop.flaky.enqueue(1)
        tasks.drain()
        tasks.advance(10)
        tasks.drain()

        assert handle.result() == 1


def test_work_that_ignores_its_timeout_is_broken_off(mqtasks_app: TaskTester) -> None:
    @shop.app.task(name=f"stubborn-{id(mqtasks_app)}", timeout=30)
    def stubborn() -> None:
        for _ in range(100):
            mqtasks_app.advance(30)
        shop.events.append("unreachable")

    stubborn.enqueue()
    report = mqtasks_app.drain()

    assert report.failed[0].reason.startswith("timed out after 30 s")
    assert shop.events == []
    assert shop.note.enqueue("the runner goes on").is_new
    assert endings(mqtasks_app.drain()) == ["succeeded"]


def test_a_task_that_survives_being_broken_off_is_abandoned(mqtasks_app: TaskTester) -> None:
    @shop.app.task(name=f"immortal-{id(mqtasks_app)}", timeout=30)
    def immortal() -> None:
        for _ in range(100):
            try:
                mqtasks_app.advance(30)
            except BaseException:  # noqa: BLE001 - what nobody should do
                shop.events.append("caught")

    immortal.enqueue()

    assert endings(mqtasks_app.drain()) == ["failed"]
    assert shop.events == ["caught"]
    shop.note.enqueue_many([("a",), ("b",)])
    assert endings(mqtasks_app.drain()) == ["succeeded", "succeeded"]


def test_isolated_tasks_run_in_this_process(mqtasks_app: TaskTester) -> None:
    @shop.app.task(name=f"isolated-{id(mqtasks_app)}", isolation="process", memory_limit=2**40)
    def isolated() -> int:
        return os.getpid()

    handle = isolated.enqueue()
    mqtasks_app.drain()

    assert handle.result() == os.getpid()
