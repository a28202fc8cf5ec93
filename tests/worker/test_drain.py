"""An orderly stop, step by step and with the real threads."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mqtasks.errors import ConfigError, InvalidArgument, StorageUnavailable
from mqtasks.events import bus
from mqtasks.model import AttemptOutcome, RunnerState, TaskMetadata, TaskStatus
from mqtasks.service import TaskService
from mqtasks.storage.contract import Allocation
from mqtasks.storage.memory import MemoryTaskStorage
from mqtasks.worker import RunnerOptions, TaskRunner
from mqtasks.worker.outcome import Released
from tests.worker.rig import Rig


@pytest.fixture
def service():
    with TaskService(MemoryTaskStorage()) as made:
        yield made


def make_runner(service: TaskService, runner_id: str = "r", **options) -> TaskRunner:
    options = {
        "parallelism": 2,
        "heartbeat_interval": 0.3,
        "heartbeat_timeout": 1.5,
        "cancel_timeout": 0.3,
    } | options
    return TaskRunner(runner_id, service, RunnerOptions(**options))


def give(service: TaskService, count: int, code: str = "work", runner: str = "r") -> list[int]:
    ids = service.create_batch([TaskMetadata(f"{code}-{n}", code) for n in range(count)])
    for task in service.storage.load(ids):
        service.allocate(task, runner)
    return ids


class Gate:
    """An executor that reports its begin and waits to be let go, or cancelled."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        self.reasons: list[str] = []

    def __call__(self, ctx, task):
        self.begun.release()
        while not self.open.wait(0.005):
            if ctx.cancelled:
                self.reasons.append(ctx.cancel_reason)
                ctx.check()
        return b"done"

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self.begun.acquire(timeout=5)


# -- step by step ------------------------------------------------------------------------------


def test_a_stop_hands_back_what_waits_and_never_what_has_ended():
    rig = Rig()
    ids = rig.give(5)
    running = rig.begin()
    rig.parts.execution.run(rig.hand.submitted.popleft())  # ended, and not committed yet
    order = []
    real = rig.storage.release_unstarted

    def release(*args):
        order.append(rig.task(ids[0]).started_at > 0)
        order.append(rig.task(ids[1]).started_at > 0 or rig.task(ids[1]).status.is_final)
        return real(*args)

    rig.storage.release_unstarted = release
    rig.parts.drain.hurry()
    rig.parts.completer.wake = rig.parts.drain.changed
    rig.parts.drain._wait = lambda done, _timeout: rig.commit()
    rig.parts.drain.run(0)
    assert order == [True, True]
    assert running.cancel_reason == "shutdown"
    assert rig.statuses(*ids[1:]) == [TaskStatus.COMPLETED] + [TaskStatus.CREATED] * 3
    assert [rig.outcomes(t) for t in ids[2:]] == [[AttemptOutcome.RELEASED]] * 3
    assert rig.state() is RunnerState.STOPPED
    assert rig.task(ids[0]).status is TaskStatus.CREATED  # released although it still runs


@pytest.mark.parametrize("count", [3, 2], ids=["waiting", "running"])
def test_g10_what_a_stop_gives_back_is_told_to_the_scheduler(count):
    """It would wait for the scheduler's next look otherwise, ten seconds away while hints flow."""
    rig = Rig(cancel_timeout=0.0)
    told: list[TaskStatus] = []
    last = rig.give(count)[-1]  # of three tasks one waits for a slot
    assert rig.service._sender.flush(10.0)
    rig.service.notifier.subscribe(
        [rig.service.keys.created], lambda *_: told.append(rig.task(last).status)
    )
    rig.begin()
    rig.begin()
    if count == 3:
        rig.parts.drain._release_rest = lambda: None
    rig.parts.drain.run(0)
    assert rig.service._sender.flush(10.0)
    assert told == [TaskStatus.CREATED]


def test_g10_a_task_given_back_by_its_executor_is_told_to_the_scheduler():
    rig = Rig(parallelism=8)
    rig.give(1)
    assert rig.service._sender.flush(10.0)
    told: list[str] = []
    rig.service.notifier.subscribe([rig.service.keys.created], lambda *_: told.append("created"))
    rig.end(rig.begin(), Released("shutdown"))
    rig.commit()
    assert rig.service._sender.flush(10.0)
    assert told == ["created"]


def test_a_runner_that_has_started_is_told_to_the_scheduler(service):
    told = threading.Event()
    service.notifier.subscribe([service.keys.created], lambda *_: told.set())
    runner = make_runner(service)
    runner.register_executor("work", lambda _ctx, _task: None)
    with runner:
        assert told.wait(10)


def test_rows_that_come_during_a_stop_are_not_taken():
    rig = Rig()
    rows = rig.allocate(*rig.create(2))
    rig.parts.drain._wait = lambda _done, _timeout: None
    rig.parts.drain.run(0)
    assert rig.parts.admission.admit(rows)
    assert not rig.hand.submitted


def test_a_stop_while_storage_is_away_ends(caplog):
    rig = Rig()
    rig.give(3)
    rig.storage.close()
    rig.parts.drain._wait = lambda _done, _timeout: None
    rig.parts.drain.run(0)
    assert "lapsed" in caplog.text


# -- with threads --------------------------------------------------------------------------------


def test_the_default_stop_lets_running_tasks_finish(service):
    gate = Gate()
    runner = make_runner(service)
    runner.register_executor("work", gate)
    runner.start()
    ids = give(service, 6)
    gate.wait(2)
    stopper = threading.Thread(target=runner.stop)
    stopper.start()
    while service.storage.load([ids[5]])[0].status is TaskStatus.RUNNING:
        assert stopper.is_alive()  # what waits is back at once, while the others still run
    gate.open.set()
    stopper.join(5)
    assert not runner.running
    statuses = [task.status for task in service.storage.load(ids)]
    assert statuses.count(TaskStatus.COMPLETED) == 2
    assert statuses.count(TaskStatus.CREATED) == 4
    assert gate.reasons == []


def test_p16_a_stop_with_timeout_0_cancels_at_once(service):
    gate = Gate()
    runner = make_runner(service)
    runner.register_executor("work", gate)
    runner.start()
    ids = give(service, 3)
    gate.wait(2)
    runner.stop(timeout=0)
    assert gate.reasons == ["shutdown"] * 2
    assert {task.status for task in service.storage.load(ids)} == {TaskStatus.CREATED}
    assert {task.attempt for task in service.storage.load(ids)} == {0}


def test_a_second_stop_hurries_the_first(service):
    gate = Gate()
    runner = make_runner(service)
    runner.register_executor("work", gate)
    runner.start()
    give(service, 1)
    gate.wait(1)
    stopper = threading.Thread(target=runner.stop, args=(60.0,))
    stopper.start()
    runner.stop(timeout=0)
    stopper.join(5)
    assert not stopper.is_alive()
    assert gate.reasons == ["shutdown"]
    runner.stop()  # once more does nothing


def test_an_executor_that_ignores_its_cancellation_is_given_back(service, caplog):
    let_go, begun = threading.Event(), threading.Event()

    def stubborn(_ctx, _task):
        begun.set()
        let_go.wait(10)

    runner = make_runner(service)
    runner.register_executor("work", stubborn)
    runner.start()
    (task_id,) = give(service, 1)
    assert begun.wait(5)
    runner.stop(timeout=0)
    assert service.storage.load([task_id])[0].status is TaskStatus.CREATED
    assert "do not react" in caplog.text
    let_go.set()


def test_async_executors_get_a_cancelled_error(service):
    begun, seen = threading.Event(), []

    async def work(ctx, _task):
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append(ctx.cancel_reason)
            raise

    runner = make_runner(service)
    runner.register_executor("work", work)
    runner.start()
    (task_id,) = give(service, 1)
    assert begun.wait(5)
    runner.stop(timeout=0)
    assert seen == ["shutdown"]
    assert service.storage.load([task_id])[0].status is TaskStatus.CREATED


def test_a_runner_may_start_again(service):
    runner = make_runner(service)
    runner.register_executor("work", lambda _ctx, _task: None)
    done = threading.Event()
    end = bus.subscribe("task.finished", lambda *_: done.set())
    try:
        for generation in (1, 2):
            done.clear()
            with runner:
                assert runner.generation == generation
                ids = give(service, 1, runner="r") if generation == 1 else more(service)
                assert done.wait(5)
            assert service.storage.load(ids)[0].status is TaskStatus.COMPLETED
    finally:
        end()


def more(service: TaskService) -> list[int]:
    (task_id,) = service.create_batch([TaskMetadata("more", "work")])
    service.allocate(service.get(task_id), "r")
    return [task_id]


def test_p9_a_cancel_of_a_running_task_reaches_it_at_once(service):
    gate = Gate()
    canceled = threading.Event()

    def finished(_name, fields):
        if fields["outcome"] == "canceled":
            canceled.set()

    end = bus.subscribe("task.finished", finished)
    runner = make_runner(service, heartbeat_interval=60.0, heartbeat_timeout=300.0)
    runner.register_executor("work", gate)
    runner.start()
    try:
        (task_id,) = give(service, 1)
        gate.wait(1)
        service.cancel(task_id)
        assert canceled.wait(2)  # not at the next beat in 60 s
        assert service.get(task_id).status is TaskStatus.CANCELED
    finally:
        end()
        runner.stop(0)


def test_2500_async_tasks_run_at_once(service):
    loops: list[asyncio.AbstractEventLoop] = []
    all_here = asyncio.Event()
    everybody = threading.Barrier(2)
    count = 0

    async def work(_ctx, _task):
        nonlocal count
        count += 1
        if count == 2500:
            loops.append(asyncio.get_running_loop())
            await asyncio.to_thread(everybody.wait, 10)
            all_here.set()
        await all_here.wait()

    runner = make_runner(
        service, parallelism=2500, fetch_limit=5000, heartbeat_interval=3.0, heartbeat_timeout=15.0
    )
    runner.register_executor("work", work)
    finished = threading.Semaphore(0)
    end = bus.subscribe("task.finished", lambda *_: finished.release())
    runner.start()
    ids = service.create_batch([TaskMetadata(f"w{n}", "work") for n in range(2500)])
    rows = service.storage.load(ids)
    given = [Allocation(t.id, 0, "r", runner.generation) for t in rows]
    assert len(service.storage.allocate_many(given)) == 2500
    service.hint_revoked("r", ids[:1])  # look now
    try:
        everybody.wait(20)
        for _ in ids:
            assert finished.acquire(timeout=20)
    finally:
        end()
        runner.stop(0)
    assert count == 2500
    assert len(loops) == 1


def test_p8_a_hundred_rolling_restarts_charge_nobody(service):
    gate = Gate()
    runner = make_runner(service)
    runner.register_executor("work", gate)
    ids = service.create_batch([TaskMetadata(f"w{n}", "work") for n in range(4)])
    for _ in range(100):
        with runner:
            for task in service.storage.load(ids):
                service.allocate(task, "r")
            gate.wait(1)
            runner.stop(timeout=0)
    for task in service.storage.load(ids):
        assert (task.crashes, task.attempt, task.reassigned) == (0, 0, 0)
        assert task.epoch == 100
        assert task.status is TaskStatus.CREATED


# -- before the start --------------------------------------------------------------------------


def test_the_first_registration_of_an_executor_stays(service):
    calls = []
    runner = make_runner(service)
    runner.register_executor(7, lambda _ctx, _task: calls.append("first"))
    runner.register_executor(7, lambda _ctx, _task: calls.append("second"))
    done = threading.Event()
    end = bus.subscribe("task.finished", lambda *_: done.set())
    with runner:
        runner.register_executor(7, lambda _ctx, _task: None)  # still no error
        with pytest.raises(ConfigError, match="before start"):
            runner.register_executor(8, lambda _ctx, _task: None)
        (task_id,) = service.create_batch([TaskMetadata("seven", 7)])
        service.allocate(service.get(task_id), "r")
        assert done.wait(5)
    end()
    assert calls == ["first"]


def test_bad_registrations_and_ids_are_refused(service):
    with pytest.raises(InvalidArgument, match="runner_id"):
        TaskRunner("", service)
    with pytest.raises(InvalidArgument, match="control"):
        TaskRunner("a\nb", service)
    runner = make_runner(service)
    with pytest.raises(ConfigError, match="no executor"):
        runner.start()
    with pytest.raises(InvalidArgument, match="callable"):
        runner.register_executor("x", 5)  # type: ignore[arg-type]
    assert runner.runner_id == "r"
    assert runner.parallelism == 2


def test_a_start_that_fails_leaves_the_runner_startable(service):
    runner = make_runner(service)
    runner.register_executor("work", lambda _ctx, _task: None)
    register = service.storage.register_runner

    def away(*_args):
        raise StorageUnavailable("away")

    service.storage.register_runner = away
    with pytest.raises(StorageUnavailable):
        runner.start()
    assert not runner.running
    service.storage.register_runner = register
    runner.register_executor("other", lambda _ctx, _task: None)
    with runner:
        assert runner.running


def test_p14_memory_storage_keeps_its_lease_in_this_process(service):
    runner = make_runner(service, heartbeat="process")
    runner.register_executor("work", lambda _ctx, _task: None)
    with runner:
        assert type(runner._lease).__name__ == "ThreadLease"
