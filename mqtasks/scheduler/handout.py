"""Writing what was decided, and telling the runners: commit first, hint second."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from mqtasks.model import AsyncTask, Leadership, TaskStatus
from mqtasks.scheduler.fleet import Fleet, RunnerRoom
from mqtasks.scheduler.limits import limits_of
from mqtasks.scheduler.placement import Demand, Placement
from mqtasks.service import TaskService
from mqtasks.storage.contract import Allocation, RunnerLimit


class Handout:
    """Turns a placement into allocated rows and hints that carry them."""

    def __init__(
        self, service: TaskService, on_given: Callable[[str, int, Sequence[AsyncTask]], None]
    ) -> None:
        """Write through ``service``; call ``on_given(runner id, generation, tasks)``."""
        self._service = service
        self._on_given = on_given

    def give(
        self,
        fleet: Fleet,
        placement: Placement,
        demands: list[Demand],
        leadership: Leadership,
    ) -> frozenset[int]:
        """Allocate in one transaction and return the ids of the tasks that were given.

        Storage checks leadership, runners, limits and rows again; what it refuses stays as it
        was and is met by a later pass. Raises NotLeader, StorageError.
        """
        rooms = fleet.rooms
        allocations = [
            Allocation(task.id, task.epoch, rooms[i].id, rooms[i].generation)
            for i, tasks in placement.assigned.items()
            for task in tasks
        ]
        if not allocations:
            return frozenset()
        limits = limits_of(demand.signature for demand in demands)
        limits += _offers(fleet, placement, demands)
        given = self._service.storage.allocate_many(allocations, leadership, limits)
        complete = len(given) == len(allocations)
        for i, tasks in placement.assigned.items():
            taken = tasks if complete else [task for task in tasks if task.id in given]
            if taken:
                room = rooms[i]
                self._on_given(room.id, room.generation, taken)
                rows = [_allocated(task, room) for task in taken]
                self._service.hint_allocated(room.id, room.generation, rows)
        return given


def _offers(fleet: Fleet, placement: Placement, demands: list[Demand]) -> list[RunnerLimit]:
    """Return what the runners offer whose new tasks reserve something of it."""
    reserving = {demand.lane for demand in demands if demand.signature.reserves}
    if not reserving:
        return []
    return [
        fleet.rooms[i].offered
        for i, tasks in placement.assigned.items()
        if any(task.lane in reserving for task in tasks)
    ]


def _allocated(task: AsyncTask, room: RunnerRoom) -> AsyncTask:
    """Return the row as the transaction has left it, the heartbeat aside."""
    return replace(
        task,
        status=TaskStatus.RUNNING,
        runner=room.id,
        generation=room.generation,
        epoch=task.epoch + 1,
        started_at=0,
    )
