"""Random operations on task records, and by operators."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule
from msgspec.structs import replace

from mqtasks.conditions import where
from mqtasks.model import (
    NewTask,
    TaskStatus,
)
from tests.support.comparing import Side
from tests.support.rules.base import (
    NAMES,
    RUNNERS,
    Comparison,
    new_tasks,
    options,
    results,
    some_names,
    statuses,
)
from tests.support.stage import row


class RecordRules(Comparison):
    """Create, add, update, delete, prune, cancel, requeue."""

    @rule(tasks=new_tasks)
    def create(self, tasks: list[NewTask]) -> None:
        self.do(lambda side: side.storage.create_tasks(tasks))

    @rule(
        name=st.sampled_from(NAMES),
        status=statuses,
        runner=st.sampled_from(RUNNERS),
        numbers=st.lists(st.integers(0, 3), min_size=4, max_size=4),
        result=results,
        task_options=options,
    )
    def add(self, name, status, runner, numbers, result, task_options) -> None:
        owned = status not in {TaskStatus.CREATED, TaskStatus.SCHEDULED, TaskStatus.WAITING}
        now = self.clock.now_ms()
        task = row(
            name,
            options=task_options,
            status=status,
            runner=runner if owned else "",
            generation=numbers[0] if owned else 0,
            epoch=numbers[1],
            crashes=numbers[2],
            reassigned=numbers[3],
            started_at=now - 5 if owned and numbers[0] else 0,
            last_heartbeat=now - 3 if owned else 0,
            completed_at=now - 1 if status.is_final else 0,
            execute_result=result if status is TaskStatus.COMPLETED else None,
        )
        self.do(lambda side: side.storage.add(task, task))

    @rule(names=some_names, priority=st.integers(-2, 2), status=statuses)
    def update(self, names: list[str], priority: int, status: TaskStatus) -> None:
        def write(side: Side) -> int:
            changed = [
                replace(
                    item,
                    priority=priority,
                    parent_task_id="edited",
                    metadata=replace(item.metadata, executor="work"),
                )
                for item in side.storage.find(names).values()
            ]
            return side.storage.update(changed, where.status != status)

        self.do(write)

    @rule(names=some_names, status=statuses, limit=st.integers(0, 2), descending=st.booleans())
    def delete(self, names, status, limit, descending) -> None:
        conditions = [where.metadata_id.in_(names), where.status != status, where.limit(limit)]
        conditions += [where.task_id_desc()] if descending else []
        self.do(lambda side: side.storage.delete(*conditions))

    @rule(success=st.sampled_from([0, 30_000]), failure=st.sampled_from([0, 90_000]))
    def prune(self, success: int, failure: int) -> None:
        self.do(lambda side: side.storage.prune(0, 100, success, failure).deleted)

    @rule(names=some_names)
    def cancel(self, names: list[str]) -> None:
        self.do(lambda side: side.storage.cancel_many([side.id_of(name) for name in names]))

    @rule(keep_steps=st.booleans())
    def requeue(self, keep_steps: bool) -> None:
        self.do(
            lambda side: side.storage.requeue_many(
                [side.id_of(name) for name in NAMES], keep_steps=keep_steps
            )
        )
