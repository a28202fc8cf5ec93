"""Records, options and states: what every layer above speaks about."""

from mqtasks.model.creation import Created, NewTask
from mqtasks.model.cron import CronTask, firing_id
from mqtasks.model.dependency import (
    BAD_OUTCOMES,
    MAX_PARENTS,
    Dependency,
    DependencyOutcome,
    ParentResult,
)
from mqtasks.model.label import LabelRule, label
from mqtasks.model.lane import (
    LaneSignature,
    hash_signature,
    lane_of,
    last_lane_beside,
    signature_of,
)
from mqtasks.model.pause import Pause, PauseKind, pause_name
from mqtasks.model.progress import MAX_MESSAGE, Progress, decode_progress, encode_progress
from mqtasks.model.rate import RateLimit
from mqtasks.model.runner import Leadership, LeaseInfo, RunnerRecord
from mqtasks.model.status import (
    FINAL,
    LIVE,
    TRANSITIONS,
    AttemptOutcome,
    FailurePolicy,
    ResultCode,
    RunnerState,
    TaskStatus,
)
from mqtasks.model.step import StepRecord
from mqtasks.model.task import (
    DEFAULT_OPTIONS,
    MAX_EPOCH,
    MAX_EXECUTOR_NUMBER,
    MAX_ID_BYTES,
    SUCCESS,
    AsyncTask,
    Attempt,
    ExecuteResult,
    TaskEpoch,
    TaskMetadata,
    TaskOptions,
    checked_id,
    deadline_of,
    executor_code,
    executor_value,
    options_from_bytes,
    options_to_bytes,
)

__all__ = [
    "BAD_OUTCOMES",
    "DEFAULT_OPTIONS",
    "FINAL",
    "LIVE",
    "MAX_EPOCH",
    "MAX_EXECUTOR_NUMBER",
    "MAX_ID_BYTES",
    "MAX_MESSAGE",
    "MAX_PARENTS",
    "SUCCESS",
    "TRANSITIONS",
    "AsyncTask",
    "Attempt",
    "AttemptOutcome",
    "Created",
    "CronTask",
    "Dependency",
    "DependencyOutcome",
    "ExecuteResult",
    "FailurePolicy",
    "LabelRule",
    "LaneSignature",
    "Leadership",
    "LeaseInfo",
    "NewTask",
    "ParentResult",
    "Pause",
    "PauseKind",
    "Progress",
    "RateLimit",
    "ResultCode",
    "RunnerRecord",
    "RunnerState",
    "StepRecord",
    "TaskEpoch",
    "TaskMetadata",
    "TaskOptions",
    "TaskStatus",
    "checked_id",
    "deadline_of",
    "decode_progress",
    "encode_progress",
    "executor_code",
    "executor_value",
    "firing_id",
    "hash_signature",
    "label",
    "lane_of",
    "last_lane_beside",
    "options_from_bytes",
    "options_to_bytes",
    "pause_name",
    "signature_of",
]
