"""The task service of a test: says when there is work, and lets nobody wait in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mqtasks.service import TaskService
from mqtasks.service.waiting import TaskWaiter, Watch


class QuietWaiter(TaskWaiter):
    """Waits for nothing: time stands still here, and no other process works.

    ``settle(task_ids)`` is called instead. It sees to it that they have ended, or raises.
    """

    settle: Callable[[Sequence[int]], None]

    def watch(
        self,
        task_ids: Iterable[int],
        notify: Callable[[], None],
        *,
        looked: bool = False,  # noqa: ARG002 - the overridden method's
    ) -> Watch:
        """Return a watch whose tasks have all ended."""
        watch = Watch(self, task_ids, notify)
        self.settle(list(watch.pending))
        watch.ended, watch.pending = list(watch.pending), set()
        watch.tell()
        return watch


class TestingService(TaskService):
    """A service that calls ``on_work()`` in the thread that has committed something to do."""

    __test__ = False

    _waiters = QuietWaiter
    on_work: Callable[[], None] | None = None

    def hint_created(self) -> None:
        """Publish the hint in this thread, then call ``on_work``."""
        self.notifier.publish(self.keys.created)
        if self.on_work is not None:
            self.on_work()
