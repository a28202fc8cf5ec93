"""Who waits for a task hears of its end, whoever ends it (S5): after the commit, once per batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mqtasks.clock import ManualClock
from mqtasks.model import ExecuteResult, TaskMetadata
from mqtasks.service import TaskService
from mqtasks.service.waiting import MAX_IDS, decode_ended
from mqtasks.storage.contract import RescueReport
from mqtasks.worker.outcome import Failed, Released
from tests.scheduler.harness import TIMEOUT, World
from tests.worker.rig import Rig


@pytest.fixture
def heard() -> Callable[[TaskService], Callable[[], list[list[int]]]]:
    """A function that listens to a service, and gives a function that returns what was heard."""

    def listen(service: TaskService) -> Callable[[], list[list[int]]]:
        hints: list[list[int]] = []

        def note(_channel: str, payload: bytes) -> None:
            hints.append(sorted(decode_ended(payload)))

        service.notifier.subscribe([service.keys.ended], note)

        def take() -> list[list[int]]:
            assert service._sender.flush(10.0)
            return [hints.pop(0) for _ in range(len(hints))]

        return take

    return listen


def test_s5_canceling_tells_of_those_that_end_at_once(service: TaskService, heard):
    take = heard(service)
    made = service.create_batch([TaskMetadata(f"t{n}", "work") for n in range(5)])
    service.allocate(service.get(made[0]), "r1")
    service.cancel(*made)
    assert take() == [made[1:]]
    service.cancel(*made)
    assert take() == []


def test_s5_a_large_cancellation_is_a_hint_for_each_thousand(service: TaskService, heard):
    take = heard(service)
    made = service.create_batch([TaskMetadata(f"t{n}", "work") for n in range(2 * MAX_IDS + 1)])
    service.cancel(*made)
    hints = take()
    assert [len(hint) for hint in hints] == [MAX_IDS, MAX_IDS, 1]
    assert [number for hint in hints for number in hint] == made


def test_s5_the_hint_comes_after_the_commit(service: TaskService):
    (task_id,) = service.create_batch([TaskMetadata("a", "work")])
    seen: list[frozenset[int]] = []
    service.notifier.subscribe(
        [service.keys.ended], lambda *_: seen.append(frozenset(service.storage.unended([task_id])))
    )
    service.cancel(task_id)
    assert service._sender.flush(10.0)
    assert seen == [frozenset()]


def test_s5_a_completion_by_hand_is_told(service: TaskService, heard):
    take = heard(service)
    task = service.allocate(service.get(service.create(TaskMetadata("a", "work"))), "r1")
    service.complete("r1", task, ExecuteResult())
    assert take() == [[task.id]]


def test_s5_what_a_rescue_ends_is_told(clock: ManualClock, heard):
    world = World(clock)
    take = heard(world.service)
    leader = world.leader(max_crashes=0)
    world.runner(parallelism=10)
    canceled, failed, _moved = world.create(3)
    leader.run_once()
    world.storage.cancel_many([canceled])
    owned = {item.task_id: item for item in world.live()}
    world.storage.mark_started("r1", [owned[failed]])
    world.pass_time(leader, 2 * TIMEOUT + 1)
    assert not world.live()
    assert take() == [[canceled, failed]]
    world.service.close()


def test_s5_nothing_is_said_about_a_rescue_that_ends_nothing(service: TaskService, heard):
    take = heard(service)
    service.hint_rescued(RescueReport(requeued=(1, 2)))
    service.hint_rescued(RescueReport())
    assert take() == []


@pytest.mark.parametrize("ending", ["success", "retry", "release"])
def test_s5_p9_a_runner_tells_of_what_ended_as_canceled_instead(heard, ending):
    """Storage knows of the cancellation, the runner does not: the answer to its write tells."""
    rig = Rig()
    take = heard(rig.service)
    rig.parts.ended.awaited()

    def act(ctx, task):
        rig.storage.cancel_many([task.id])
        if ending == "retry":
            raise ValueError("once more")
        if ending == "release":
            rig.parts.canceller.cancel(rig.parts.holdings.get(task.id), "shutdown")
            assert ctx.cancelled

    rig.act = act
    (task_id,) = rig.give(1, max_retry_times=3 * (ending == "retry"))
    rig.run_next()
    said = rig.parts.holdings.get(task_id).outcome
    kinds: dict[str, type] = {"success": ExecuteResult, "retry": Failed, "release": Released}
    assert isinstance(said, kinds[ending])
    rig.commit()
    assert take() == [[task_id]]


def test_s5_a_runner_says_nothing_while_nobody_waits(heard):
    rig = Rig()
    take = heard(rig.service)
    rig.give(2)
    rig.run_next()
    rig.commit()
    assert take() == []


def test_s5_a_runner_says_nothing_of_what_goes_on(heard):
    rig = Rig()
    take = heard(rig.service)
    rig.parts.ended.awaited()
    rig.act = lambda *_: 1 / 0
    rig.give(1, max_retry_times=1)
    rig.run_next()
    rig.commit()
    assert take() == []
