"""The memory storage: the whole contract in one process, for tests, demos and embedding."""

from mqtasks.storage.memory.storage import MemoryTaskStorage

__all__ = ["MemoryTaskStorage"]
