"""The task service: commit first, hint second."""

from mqtasks.service.task_service import TaskService

__all__ = ["TaskService"]
