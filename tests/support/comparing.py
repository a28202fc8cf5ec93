"""Two storages side by side: whatever is done to both must be answered and seen alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import astuple, replace

from mqtasks.conditions import where
from mqtasks.errors import MQTasksError
from mqtasks.model import (
    AsyncTask,
    Created,
    CronTask,
    Dependency,
    FiredTask,
    FiringKind,
    ParentResult,
)
from mqtasks.storage.contract import (
    CancelReport,
    Orphans,
    Owned,
    RescueReport,
    Resolution,
    TaskStorage,
    WriteReport,
)

CRONS = ["cron a", "cron b"]


class Side:
    """One of the two storages. It numbers its tasks itself, so they are known by metadata id."""

    def __init__(self, storage: TaskStorage) -> None:
        self.storage = storage
        self._ids: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def learn(self, tasks: Iterable[AsyncTask]) -> None:
        """Remember which number each metadata id has."""
        for task in tasks:
            self._ids[task.metadata.id] = task.id
            self._names[task.id] = task.metadata.id

    def id_of(self, name: str) -> int:
        """Return the task id of a metadata id; one that is not stored if it never was."""
        return self._ids.get(name, 10**9)

    def named(self, value: Any) -> Any:
        """Return an answer without task ids, and without an order that means nothing."""
        translate = _TRANSLATIONS.get(type(value))
        return value if translate is None else translate(self, value)

    def name_of(self, item: Any) -> Any:
        """Return the metadata id of a task id; anything but a number as it is."""
        return self._names.get(item, "?") if isinstance(item, int) else item

    def names_of(self, ids: Iterable[Any]) -> list[Any]:
        """Return the metadata ids of task ids, in no order that means anything."""
        return sorted(self.name_of(item) for item in ids)

    def visible(self, runner_ids: Iterable[str]) -> dict[str, Any]:
        """Return all that the contract shows of the storage now."""
        storage = self.storage
        tasks = storage.query(where.everything())
        self.learn(tasks)
        lanes = storage.lanes(0, 1000)
        runners = storage.runners()
        generations = [(item.id, item.generation) for item in runners]
        generations += [(name, 0) for name in runner_ids]
        lease = storage.lease("leader")
        return {
            "tasks": self.named(tasks),
            "attempts": {
                item.metadata.id: [
                    replace(attempt, task_id=0) for attempt in storage.attempts(item.id)
                ]
                for item in tasks
            },
            "steps": {item.metadata.id: storage.steps(item.id) for item in tasks},
            "links": {item.metadata.id: self._links(item) for item in tasks},
            "unended": self.named(storage.unended([item.id for item in tasks])),
            "queues": {
                lane: [item.metadata.id for item in storage.lane_tasks(lane, 1000)]
                for lane in lanes
            },
            "due in": storage.next_due_in_ms(),
            "load": sorted(storage.live_load(), key=repr),
            "lanes": sorted(storage.lane_signatures([item.lane for item in tasks]), key=repr),
            "owned": {key: sorted(self.named(storage.owned(*key))) for key in generations},
            "orphans": sorted(self.named(storage.orphans())),
            "runners": runners,
            "lease": lease and (lease.holder, lease.term, max(0, lease.remaining_ms)),
            "crons": self.named(storage.query_cron_task()),
            "due crons": [item.metadata.id for item in storage.due_cron(100)],
            "cron in": storage.next_cron_in_ms(),
            "firings": {
                name: [storage.cron_firings(name, 50, kind) for kind in FiringKind]
                for name in (item.metadata.id for item in storage.query_cron_task())
            },
            "fired tasks": {
                name: self.named(tasks)
                for name, tasks in storage.fired_tasks(storage.query_cron_task(), 3).items()
            },
            "counts": storage.count_by_status(100),
        }

    def _links(self, task: AsyncTask) -> list[Any]:
        links = self.named(self.storage.dependencies(task.id))
        return links and [*links, *self.named(self.storage.parent_results(task.id))]


_TRANSLATIONS: dict[type, Callable[[Side, Any], Any]] = {
    AsyncTask: lambda _, value: replace(value, id=0),
    CronTask: lambda _, value: replace(value, id=0),
    FiredTask: lambda _, value: replace(value, task_id=0),
    Created: lambda side, value: (
        side.name_of(value.task_id),
        value.is_new,
        value.metadata_id,
    ),
    Orphans: lambda _, value: (value.runner_id, value.has_row),
    Owned: lambda side, value: (side.name_of(value.task_id), value.epoch, value.status),
    WriteReport: lambda side, value: (side.names_of(value.lost), side.names_of(value.canceled)),
    CancelReport: lambda side, value: (
        side.names_of(value.canceled),
        sorted((side.name_of(task_id), runner) for task_id, runner in value.requested),
        side.names_of(value.ignored),
    ),
    RescueReport: lambda side, value: [
        side.names_of(ids) for ids in (value.requeued, value.canceled, value.failed)
    ],
    Dependency: lambda side, value: (
        side.name_of(value.child_id),
        side.name_of(value.parent_id),
        *astuple(value)[2:],
    ),
    ParentResult: lambda _, value: replace(value, parent_id=0),
    Resolution: lambda side, value: [
        *(side.names_of(ids) for ids in (value.released, value.canceled, value.failed)),
        value.waiting,
    ],
    frozenset: lambda side, value: side.names_of(value),
    tuple: lambda side, value: side.names_of(value),
    list: lambda side, value: [side.named(item) for item in value],
}


class Pair:
    """The model, and the storage that must behave like it."""

    def __init__(self, model: TaskStorage, subject: TaskStorage) -> None:
        self.sides = (Side(model), Side(subject))

    @property
    def model(self) -> TaskStorage:
        """Return the storage that decides what is right."""
        return self.sides[0].storage

    def do(self, operation: Callable[[Side], Any]) -> Any:
        """Do the same to both, compare the answers, and return the model's."""
        answers = [_answer(operation, side) for side in self.sides]
        for side in self.sides:
            side.learn(side.storage.query(where.everything()))
        named = [side.named(answer) for side, answer in zip(self.sides, answers, strict=True)]
        assert named[1] == named[0]
        return answers[0]

    def check(self, runner_ids: Iterable[str]) -> None:
        """Compare everything that can be seen."""
        names = list(runner_ids)
        model, subject = (side.visible(names) for side in self.sides)
        for part, expected in model.items():
            assert subject[part] == expected, part


def _answer(operation: Callable[[Side], Any], side: Side) -> Any:
    try:
        return operation(side)
    except MQTasksError as error:
        return type(error)
