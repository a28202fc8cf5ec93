"""The truth: the storage contract and its three implementations.

The names are loaded when they are first used, so that no driver is imported in vain.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mqtasks.storage.contract import TaskStorage
    from mqtasks.storage.factory import (
        FixedTaskStorageFactory,
        MySQLTaskStorageFactory,
        TaskStorageFactory,
        storage_from_url,
    )
    from mqtasks.storage.memory import MemoryTaskStorage
    from mqtasks.storage.mysql import MySQLTaskStorage
    from mqtasks.storage.sqlite import SQLiteTaskStorage

__all__ = [
    "FixedTaskStorageFactory",
    "MemoryTaskStorage",
    "MySQLTaskStorage",
    "MySQLTaskStorageFactory",
    "SQLiteTaskStorage",
    "TaskStorage",
    "TaskStorageFactory",
    "storage_from_url",
]

_MODULES = {
    "FixedTaskStorageFactory": "factory",
    "MemoryTaskStorage": "memory",
    "MySQLTaskStorage": "mysql",
    "MySQLTaskStorageFactory": "factory",
    "SQLiteTaskStorage": "sqlite",
    "TaskStorage": "contract",
    "TaskStorageFactory": "factory",
    "storage_from_url": "factory",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
