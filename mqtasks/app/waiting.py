"""Waiting for many tasks at once: one statement per look, however many there are."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, Literal, NamedTuple, TypeVar

from mqtasks.app.handle import TaskHandle, checked_timeout
from mqtasks.errors import InvalidArgument, ResultTimeout
from mqtasks.loop import Wake
from mqtasks.service import TaskService

R = TypeVar("R")


class Waited(NamedTuple, Generic[R]):
    """Answer of `wait`."""

    done: list[TaskHandle[R]]
    """Handles of tasks that have ended, in the order given."""
    pending: list[TaskHandle[R]]
    """The others, in the order given."""


def as_completed(
    handles: Iterable[TaskHandle[R]], timeout: float | None = None
) -> Iterator[TaskHandle[R]]:
    """Yield each handle as soon as its task has ended, however it ended.

    ``timeout`` is seconds for all of them together, None = as long as it takes; raises
    ResultTimeout when it is over, with those yielded before untouched. A handle given twice is
    yielded twice. Handles of several applications may be mixed. Raises StorageUnavailable if an
    application is closed meanwhile. Nothing is asked before the first item is.
    """
    checked_timeout(timeout)
    return _as_completed(list(handles), timeout)


def _as_completed(
    handles: Sequence[TaskHandle[R]], timeout: float | None
) -> Iterator[TaskHandle[R]]:
    waiting: dict[TaskService, dict[int, list[TaskHandle[R]]]] = {}
    for handle in handles:
        waiting.setdefault(handle.service, {}).setdefault(handle.task_id, []).append(handle)
    if not waiting:
        return
    clock = next(iter(waiting)).clock
    deadline = None if timeout is None else clock.monotonic() + timeout
    for service, group in waiting.items():
        open_ids = service.storage.unended(list(group))
        for task_id in [task_id for task_id in group if task_id not in open_ids]:
            yield from group.pop(task_id)
    news = Wake()
    watches = {
        service: service.waiter.watch(list(group), news.set, looked=True)
        for service, group in waiting.items()
        if group
    }
    try:
        while left := [task_id for group in waiting.values() for task_id in group]:
            patience = threading.TIMEOUT_MAX if deadline is None else deadline - clock.monotonic()
            if patience <= 0:
                raise ResultTimeout(left[0], timeout or 0.0, len(left))
            news.wait(patience)
            for service, watch in watches.items():
                for task_id in watch.take():
                    yield from waiting[service].pop(task_id, ())
    finally:
        for watch in watches.values():
            watch.close()


def wait(
    handles: Iterable[TaskHandle[R]],
    timeout: float | None = None,
    return_when: Literal["all", "first", "failure"] = "all",
) -> Waited[R]:
    """Wait for tasks and return which have ended; a timeout is no error here.

    ``return_when``: ``all`` have ended, the ``first`` has, or the first ``failure`` (one that
    failed or was canceled) or all. ``timeout`` is seconds, None = as long as it takes, 0 = look.
    """
    checked_timeout(timeout)
    if return_when not in {"all", "first", "failure"}:
        raise InvalidArgument("return_when", return_when, "must be 'all', 'first' or 'failure'")
    given = list(handles)
    done: set[tuple[TaskService, int]] = set()
    try:
        for handle in as_completed(given, timeout):
            done.add((handle.service, handle.task_id))
            if return_when == "first" or (return_when == "failure" and not handle.succeeded()):
                break
    except ResultTimeout:
        pass
    split: tuple[list[TaskHandle[R]], list[TaskHandle[R]]] = ([], [])
    for handle in given:
        split[(handle.service, handle.task_id) not in done].append(handle)
    return Waited(*split)


def results(handles: Iterable[TaskHandle[R]], timeout: float | None = None) -> list[R]:
    """Wait for all tasks and return their results, in the order given.

    Raises what `TaskHandle.result` raises, for the first that did not succeed in that order, once
    all have ended; ResultTimeout if ``timeout`` (seconds for all together) is over before.
    """
    given = list(handles)
    for _ in as_completed(given, timeout):
        pass
    return [handle.result() for handle in given]
