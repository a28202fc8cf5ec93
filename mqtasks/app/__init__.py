"""The application API: register functions, enqueue them, await their results."""

from mqtasks.app.application import MQTasks
from mqtasks.app.handle import TaskHandle
from mqtasks.app.plan import Chain, Group, Plan, PlannedCall, chain, group
from mqtasks.app.task import Task
from mqtasks.app.waiting import Waited, as_completed, results, wait

__all__ = [
    "Chain",
    "Group",
    "MQTasks",
    "Plan",
    "PlannedCall",
    "Task",
    "TaskHandle",
    "Waited",
    "as_completed",
    "chain",
    "group",
    "results",
    "wait",
]
