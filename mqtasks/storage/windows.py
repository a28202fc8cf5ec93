"""Unique windows: which tasks of a batch are made, and what the others are answered.

One decision for every storage. A window is a key that belongs to the task that took it until it
expires on the database's clock; whatever becomes of that task, nothing else is made meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from mqtasks.errors import InvalidArgument
from mqtasks.model import Created, NewTask

KEY_BYTES: Final = 32
MAX_PERIOD_MS: Final = 2**53 * 1000


class Window(NamedTuple):
    """A window to be written: it belongs to this task for so many milliseconds from now."""

    key: bytes
    task_id: int
    metadata_id: str
    period_ms: int


class Windows:
    """A batch with unique keys. ``held`` are the windows open now, as answers that name the task.

    Make what is `chosen`, write the windows of `taken`, and give the `answers`.
    """

    def __init__(self, tasks: Sequence[NewTask], held: Mapping[bytes, Created]) -> None:
        self.chosen: Final[list[NewTask]] = []
        """Tasks to be made, in the order given."""
        self._tasks = tasks
        self._held = dict(held)
        self._makes: list[bool] = []
        seen = set(held)
        for task in tasks:
            key = task.unique_key
            makes = key not in seen
            if makes:
                self.chosen.append(task)
                if key:
                    seen.add(key)
            self._makes.append(makes)

    def taken(self, created: Sequence[Created]) -> list[Window]:
        """Return the windows that the chosen tasks take, by ascending key."""
        return sorted(
            Window(task.unique_key, made.task_id, task.metadata.id, task.unique_ms)
            for task, made in zip(self.chosen, created, strict=True)
            if task.unique_key
        )

    def answers(self, created: Sequence[Created]) -> list[Created]:
        """Return the answer for each task of the batch, from those for the chosen ones."""
        firsts = dict(self._held)
        for window in self.taken(created):
            firsts[window.key] = held_by(window.task_id, window.metadata_id)
        made = iter(created)
        return [
            next(made) if makes else firsts[task.unique_key]
            for task, makes in zip(self._tasks, self._makes, strict=True)
        ]


def held_by(task_id: int, metadata_id: str) -> Created:
    """Return the answer for a task whose window belongs to another one."""
    return Created(task_id, is_new=False, metadata_id=metadata_id)


def windowed(tasks: Sequence[NewTask]) -> list[NewTask]:
    """Return the tasks with a unique key; raises InvalidArgument if another one waits for them.

    Which task that would be is not known before the window is looked at, but links are.
    """
    found = [task for task in tasks if task.unique_key]
    if found:
        awaited = {name for task in tasks for name in task.after}
        for task in found:
            if task.metadata.id in awaited:
                raise InvalidArgument(
                    "unique_for",
                    task.metadata.id,
                    "no task of the same plan can wait for one with a window: leave it out there",
                )
    return found


def check_window(task: NewTask) -> None:
    """Raise InvalidArgument unless a task has a whole window or none."""
    key: object = task.unique_key
    period: object = task.unique_ms
    if not isinstance(key, bytes) or len(key) not in {0, KEY_BYTES}:
        raise InvalidArgument("unique_key", key, f"must be {KEY_BYTES} bytes, or empty")
    least, most = (1, MAX_PERIOD_MS) if key else (0, 0)
    if isinstance(period, bool) or not isinstance(period, int) or not least <= period <= most:
        raise InvalidArgument(
            "unique_ms", period, f"must be between 1 and {MAX_PERIOD_MS} with a key, else 0"
        )
