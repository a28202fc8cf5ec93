"""Cron rows: each firing is written once, together with its task (P12)."""

from __future__ import annotations

import threading

import pytest
from msgspec.structs import replace

from mqtasks.errors import InvalidArgument
from mqtasks.model import CronTask, NewTask, TaskMetadata, TaskOptions, TaskStatus, firing_id
from mqtasks.storage.contract import Trigger
from tests.support.stage import new, row

NOW = 1_700_000_000_000
HOUR = 3_600_000


def cron(name: str, next_time: int = NOW, **fields) -> CronTask:
    options = fields.pop("options", TaskOptions(priority=2, labels={"a": "b"}))
    metadata = TaskMetadata(name, fields.pop("executor", 7), b"\0payload", options)
    return CronTask(metadata=metadata, cron_expr="0 * * * *", next_time=next_time, **fields)


@pytest.fixture
def stored(stage):
    """The stored row of a definition that is due now."""
    assert stage.storage.add_cron_task(cron("nightly", timezone="Europe/Berlin")) == 1
    return the_only(stage)


def the_only(stage):
    (found,) = stage.storage.query_cron_task()
    return found


def firing(definition: CronTask) -> Trigger:
    metadata = replace(
        definition.metadata,
        id=firing_id(definition.metadata.id, definition.trigger_times + 1),
    )
    task = NewTask(metadata, definition.metadata.id)
    return Trigger(definition, definition.next_time + HOUR, task)


def advanced(definition: CronTask) -> tuple[CronTask, str]:
    times = definition.trigger_times + 1
    return (
        replace(definition, trigger_times=times, next_time=definition.next_time + HOUR),
        firing_id(definition.metadata.id, times),
    )


def test_definitions_are_stored_whole(stage):
    wanted = cron("nightly", timezone="Europe/Berlin", paused=True)
    assert stage.storage.add_cron_task(wanted) == 1
    found = the_only(stage)
    assert found.id > 0
    assert found == replace(wanted, id=found.id, created_at=stage.now, updated_at=stage.now)


def test_adding_a_known_definition_leaves_it_alone(stage, stored):
    other = cron("nightly", NOW + 5, timezone="UTC")
    assert stage.storage.add_cron_task(other, cron("weekly"), cron("weekly", 5)) == 1
    weekly, nightly = sorted(
        stage.storage.query_cron_task(), key=lambda item: item.metadata.id, reverse=True
    )
    assert nightly == stored
    assert weekly.next_time == NOW
    assert stage.storage.add_cron_task() == 0


def test_definitions_are_listed_by_metadata_id(stage):
    stage.storage.add_cron_task(*(cron(name) for name in ("b", "a", "é", "B", "a ")))
    names = [item.metadata.id for item in stage.storage.query_cron_task()]
    assert names == ["B", "a", "a ", "b", "é"]


def test_a_bad_definition_writes_nothing(stage):
    for bad in (cron(""), cron("x", executor="12"), cron("x", -1)):
        with pytest.raises(InvalidArgument):
            stage.storage.add_cron_task(cron("good"), bad)
    assert stage.storage.query_cron_task() == []


def test_definitions_are_copies_on_their_way_in_and_out(stage):
    labels = {"a": "b"}
    stage.storage.add_cron_task(cron("nightly", options=TaskOptions(labels=labels)))
    labels["a"] = "c"
    the_only(stage).metadata.options.labels["a"] = "d"
    assert the_only(stage).metadata.options.labels == {"a": "b"}


def test_due_definitions_are_told_earliest_first(stage):
    stage.storage.add_cron_task(
        cron("second", NOW + 2000),
        cron("first", NOW + 1000),
        cron("paused", NOW, paused=True),
        cron("far", NOW + HOUR),
        cron("deleted", NOW),
    )
    stage.storage.delete_cron_task("deleted")
    assert stage.storage.due_cron(10) == []
    assert stage.storage.next_cron_in_ms() == 1000
    stage.clock.advance(1)
    assert [item.metadata.id for item in stage.storage.due_cron(10)] == ["first"]
    assert stage.storage.next_cron_in_ms() == 0
    stage.clock.advance(1)
    due = stage.storage.due_cron(10)
    assert [item.metadata.id for item in due] == ["first", "second"]
    stored = {item.metadata.id: item for item in stage.storage.query_cron_task()}
    assert due == [stored["first"], stored["second"]]
    assert stage.storage.due_cron(1) == due[:1]
    assert stage.storage.due_cron(0) == []
    assert stage.storage.next_cron_in_ms() == -1000


def test_without_a_running_definition_none_is_next(stage):
    assert stage.storage.next_cron_in_ms() is None
    stage.storage.add_cron_task(cron("paused", paused=True))
    assert stage.storage.next_cron_in_ms() is None
    assert stage.storage.due_cron(10) == []


def test_p12_the_trigger_of_the_reference_writes_row_and_task_together(stage, stored):
    stage.clock.advance(1)
    following, task_id = advanced(stored)
    task = row(task_id, 7, parent_task_id="nightly", priority=2)
    assert stage.storage.update_cron_task(following, task) == 2
    assert the_only(stage) == replace(following, updated_at=stage.now)
    (created,) = stage.storage.query()
    assert (created.metadata.id, created.parent_task_id) == ("nightly:1", "nightly")
    assert (created.status, created.created_at) == (TaskStatus.CREATED, stage.now)
    assert created.priority == 2


@pytest.mark.parametrize("reason", ["again", "edited", "paused", "deleted", "unknown", "id taken"])
def test_p12_a_trigger_that_comes_too_late_writes_nothing(stage, stored, reason):
    storage = stage.storage
    following, task_id = advanced(stored)
    trigger = firing(stored)
    if reason == "again":
        assert storage.update_cron_task(following, row(task_id)) == 2
        task_id = "another"
        trigger = replace(trigger, task=new("another"))
    elif reason == "edited":
        assert storage.edit_cron_task(stored)
    elif reason == "paused":
        # Also if the version were known: a paused definition does not fire.
        assert storage.edit_cron_task(replace(stored, paused=True))
        following = replace(following, version=1)
        trigger = replace(trigger, cron=the_only(stage))
    elif reason == "deleted":
        assert storage.delete_cron_task("nightly")
    elif reason == "unknown":
        metadata = replace(stored.metadata, id="unknown")
        following = replace(following, metadata=metadata)
        trigger = replace(trigger, cron=replace(stored, metadata=metadata))
    else:
        stage.create(task_id)
    before = (storage.query_cron_task(), stage.everything())
    assert storage.update_cron_task(following, row(task_id)) == 0
    assert storage.trigger_many([trigger]) == [False]
    assert (storage.query_cron_task(), stage.everything()) == before


def test_p12_many_triggers_share_a_transaction_and_losers_harm_nobody(stage):
    storage = stage.storage
    names = [f"cron {n:03}" for n in range(500)]
    storage.add_cron_task(*(cron(name) for name in names))
    read = storage.query_cron_task()
    lost = {
        3: lambda: storage.update_cron_task(*_reference(read[3])),
        77: lambda: storage.edit_cron_task(read[77]),
        250: lambda: storage.delete_cron_task(names[250]),
        251: lambda: storage.edit_cron_task(replace(read[251], paused=True)),
        499: lambda: stage.create(firing_id(names[499], 1)),
    }
    for change in lost.values():
        change()
    stage.clock.advance(1)
    answers = storage.trigger_many([firing(item) for item in reversed(read)])
    assert answers == [n not in lost for n in reversed(range(500))]
    stored = {item.metadata.id: item for item in storage.query_cron_task()}
    for n, item in enumerate(read):
        if n not in lost:
            fired = stored[item.metadata.id]
            assert (fired.trigger_times, fired.next_time) == (1, item.next_time + HOUR)
            assert (fired.version, fired.updated_at) == (0, stage.now)
    created = {item.metadata.id for item in storage.query()}
    assert created == {firing_id(name, 1) for n, name in enumerate(names) if n not in lost} | {
        firing_id(names[3], 1),
        firing_id(names[499], 1),
    }
    assert storage.trigger_many([]) == []


def _reference(definition):
    following, task_id = advanced(definition)
    return following, row(task_id)


def test_p12_a_fired_task_is_created_like_any_other(stage, stored):
    trigger = firing(stored)
    assert trigger.task is not None
    task = replace(trigger.task, run_at=stage.now + 5000)
    late = replace(trigger, task=task)
    assert stage.storage.trigger_many([late]) == [True]
    (made,) = stage.storage.query()
    assert made.metadata == task.metadata
    assert (made.status, made.run_at) == (TaskStatus.SCHEDULED, stage.now + 5000)
    assert (made.parent_task_id, made.priority) == ("nightly", 2)


def test_p12_one_definition_twice_in_a_call_fires_once(stage, stored):
    assert stage.storage.trigger_many([firing(stored), firing(stored)]) == [True, False]
    # Several firings in one call are told one after the other.
    second = the_only(stage)
    third = replace(second, trigger_times=2, next_time=second.next_time + HOUR)
    assert stage.storage.trigger_many([firing(second), firing(third)]) == [True, True]
    assert len(stage.storage.query()) == 3
    assert the_only(stage).trigger_times == 3


def test_p12_two_triggers_of_one_task_id_fire_once(stage):
    stage.storage.add_cron_task(cron("a"), cron("b"))
    first, second = stage.storage.query_cron_task()
    task = new("the same")
    answers = stage.storage.trigger_many(
        [Trigger(first, NOW + HOUR, task), Trigger(second, NOW + HOUR, task)]
    )
    assert answers == [True, False]
    assert [item.trigger_times for item in stage.storage.query_cron_task()] == [1, 0]


def test_p12_an_edit_replaces_the_definition_and_bumps_the_version(stage, stored):
    stage.storage.trigger_many([firing(stored)])
    read = the_only(stage)
    stage.clock.advance(1)
    edit = replace(
        read,
        metadata=TaskMetadata("nightly", "mail", b"new", TaskOptions(timeout=5)),
        cron_expr="5 * * * *",
        timezone="UTC",
        next_time=NOW + 99,
        paused=True,
        trigger_times=0,
        created_at=1,
    )
    assert stage.storage.edit_cron_task(edit) is True
    assert the_only(stage) == replace(
        edit, version=1, trigger_times=1, created_at=read.created_at, updated_at=stage.now
    )
    assert stage.storage.edit_cron_task(edit) is False
    assert stage.storage.edit_cron_task(the_only(stage)) is True
    assert the_only(stage).version == 2


def test_editing_what_is_not_there_is_refused(stage, stored):
    assert stage.storage.edit_cron_task(cron("unknown")) is False
    stage.storage.delete_cron_task("nightly")
    assert stage.storage.edit_cron_task(stored) is False


def test_p12_a_deleted_definition_is_gone_but_counts_on(stage, stored):
    stage.storage.trigger_many([firing(stored)])
    assert stage.storage.delete_cron_task("nightly") is True
    assert stage.storage.delete_cron_task("nightly") is False
    assert stage.storage.delete_cron_task("unknown") is False
    assert stage.storage.query_cron_task() == []
    assert stage.storage.due_cron(10) == []
    assert stage.storage.next_cron_in_ms() is None


def test_p12_a_definition_that_comes_back_never_repeats_a_firing(stage, stored):
    stage.storage.trigger_many([firing(stored)])
    before = the_only(stage)
    stage.storage.delete_cron_task("nightly")
    stage.clock.advance(1)
    again = cron("nightly", NOW + 5, executor="other", timezone="UTC")
    assert stage.storage.add_cron_task(again) == 1
    revived = the_only(stage)
    assert (revived.metadata, revived.timezone) == (again.metadata, "UTC")
    assert (revived.next_time, revived.trigger_times) == (NOW + 5, 1)
    assert revived.version > before.version
    assert stage.storage.trigger_many([firing(before)]) == [False]
    assert stage.storage.trigger_many([firing(revived)]) == [True]
    assert set(stage.storage.find(["nightly:1", "nightly:2"])) == {"nightly:1", "nightly:2"}


def test_p12_any_number_of_schedulers_fire_once(opener):
    """Eight threads on two connections trigger the same twenty definitions at once."""
    schedulers = [opener(None), opener(None)]
    schedulers[0].add_cron_task(*(cron(f"cron {n}") for n in range(20)))
    read = schedulers[0].query_cron_task()
    start = threading.Barrier(8)
    answers: list[list[bool]] = []
    failures: list[BaseException] = []

    def trigger(number: int) -> None:
        try:
            start.wait(30)
            answers.append(schedulers[number % 2].trigger_many([firing(item) for item in read]))
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=trigger, args=(number,)) for number in range(8)]
    for item in threads:
        item.start()
    for item in threads:
        item.join()
    assert failures == []
    assert [sum(each) for each in zip(*answers, strict=True)] == [1] * 20
    assert [item.trigger_times for item in schedulers[0].query_cron_task()] == [1] * 20
    assert len(schedulers[0].query()) == 20
