"""Records, options and states: what every layer above speaks about."""

from mqtasks.model.cron import CronTask, firing_id
from mqtasks.model.label import LabelRule, label
from mqtasks.model.lane import LaneSignature, hash_signature, lane_of, signature_of
from mqtasks.model.pause import Pause, PauseKind, pause_name
from mqtasks.model.progress import MAX_MESSAGE, Progress, decode_progress, encode_progress
from mqtasks.model.rate import RateLimit
from mqtasks.model.runner import Leadership, LeaseInfo, RunnerRecord
from mqtasks.model.status import (
    FINAL,
    LIVE,
    TRANSITIONS,
    AttemptOutcome,
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
    Created,
    ExecuteResult,
    NewTask,
    TaskEpoch,
    TaskMetadata,
    TaskOptions,
    checked_id,
    executor_code,
    executor_value,
    options_from_bytes,
    options_to_bytes,
)

__all__ = [
    "DEFAULT_OPTIONS",
    "FINAL",
    "LIVE",
    "MAX_EPOCH",
    "MAX_EXECUTOR_NUMBER",
    "MAX_ID_BYTES",
    "MAX_MESSAGE",
    "SUCCESS",
    "TRANSITIONS",
    "AsyncTask",
    "Attempt",
    "AttemptOutcome",
    "Created",
    "CronTask",
    "ExecuteResult",
    "LabelRule",
    "LaneSignature",
    "Leadership",
    "LeaseInfo",
    "NewTask",
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
    "decode_progress",
    "encode_progress",
    "executor_code",
    "executor_value",
    "firing_id",
    "hash_signature",
    "label",
    "lane_of",
    "options_from_bytes",
    "options_to_bytes",
    "pause_name",
    "signature_of",
]
