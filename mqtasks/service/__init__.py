"""The task service: commit first, hint second."""

from mqtasks.service.control import Bulk, Control, PauseTarget
from mqtasks.service.task_service import TaskService

__all__ = ["Bulk", "Control", "PauseTarget", "TaskService"]
