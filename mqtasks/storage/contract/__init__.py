"""The storage contract: the text from which a further backend can be written.

`TaskStorage` is all groups together. Memory, SQLite and MySQL pass one conformance suite over it
(``tests/storage/contract``). Read `TaskRecords` first: it holds the obligations shared by all.
"""

from mqtasks.storage.contract.children import ChildOperations
from mqtasks.storage.contract.cron import CronOperations
from mqtasks.storage.contract.deadlines import DeadlineOperations
from mqtasks.storage.contract.dependencies import DependencyOperations, Resolution
from mqtasks.storage.contract.firings import MANUAL_COUNTS_MS, FiringOperations
from mqtasks.storage.contract.joined import JoinedTransaction
from mqtasks.storage.contract.pauses import PauseOperations
from mqtasks.storage.contract.queue import QueueOperations
from mqtasks.storage.contract.records import (
    APPLIED,
    UNCOUNTED,
    Allocation,
    CancelReport,
    Capabilities,
    Completion,
    ExecutorCount,
    ExecutorLimit,
    KeyLimit,
    LaneLoad,
    LaneSample,
    Limit,
    Orphans,
    Owned,
    PruneReport,
    RateRule,
    Renewal,
    RescueReport,
    RetryRequest,
    RunnerLimit,
    Trigger,
    WriteReport,
    executor_bucket,
    key_bucket,
)
from mqtasks.storage.contract.runners import LeaseOperations, RunnerOperations
from mqtasks.storage.contract.steps import StepOperations, WaitOperations
from mqtasks.storage.contract.tasks import TaskRecords
from mqtasks.storage.contract.windows import WindowOperations

__all__ = [
    "APPLIED",
    "MANUAL_COUNTS_MS",
    "UNCOUNTED",
    "Allocation",
    "CancelReport",
    "Capabilities",
    "ChildOperations",
    "Completion",
    "CronOperations",
    "DeadlineOperations",
    "DependencyOperations",
    "ExecutorCount",
    "ExecutorLimit",
    "FiringOperations",
    "JoinedTransaction",
    "KeyLimit",
    "LaneLoad",
    "LaneSample",
    "LeaseOperations",
    "Limit",
    "Orphans",
    "Owned",
    "PauseOperations",
    "PruneReport",
    "QueueOperations",
    "RateRule",
    "Renewal",
    "RescueReport",
    "Resolution",
    "RetryRequest",
    "RunnerLimit",
    "RunnerOperations",
    "StepOperations",
    "TaskRecords",
    "TaskStorage",
    "Trigger",
    "WaitOperations",
    "WindowOperations",
    "WriteReport",
    "executor_bucket",
    "key_bucket",
]


class TaskStorage(
    TaskRecords,
    QueueOperations,
    RunnerOperations,
    LeaseOperations,
    CronOperations,
    FiringOperations,
    PauseOperations,
    StepOperations,
    WaitOperations,
    DependencyOperations,
    ChildOperations,
    DeadlineOperations,
    WindowOperations,
):
    """Where tasks live. Implementations: `MemoryTaskStorage`, `SQLiteTaskStorage`, MySQL's."""
