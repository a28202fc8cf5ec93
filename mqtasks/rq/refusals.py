"""What of rq's classes is refused, and the mqtasks command that does it instead.

The names are those of rq 2.12 to 3; ``tests/rq`` holds the lists to the installed version.
"""

from __future__ import annotations

from typing import Final

_ENQUEUE: Final = "`mqtasks enqueue CODE` or `task.enqueue()`"
_CANCEL: Final = "`mqtasks tasks cancel TASK...`"
_LIST: Final = "`mqtasks tasks list --executor CODE`"
_LIST_RUNNER: Final = "`mqtasks tasks list --runner ID`"
_SHOW: Final = "`mqtasks tasks show TASK`"
_WORKER: Final = "`mqtasks worker MODULE:APP`"
_SCHEDULER: Final = "`mqtasks scheduler`"
_SIGNAL: Final = "a signal to the process of `mqtasks worker` (TERM stops it in order)"

QUEUE: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            "create_job",
            "enqueue",
            "enqueue_at",
            "enqueue_call",
            "enqueue_in",
            "enqueue_job",
            "enqueue_many",
            "push_job_id",
            "schedule_job",
            "setup_dependencies",
        ),
        _ENQUEUE,
    ),
    **dict.fromkeys(("delete", "empty", "remove"), _CANCEL),
    **dict.fromkeys(
        ("get_job_ids", "get_job_position", "get_jobs", "intermediate_queue", "job_ids", "jobs"),
        _LIST,
    ),
    "fetch_job": _SHOW,
    **dict.fromkeys(
        ("dequeue_any", "lmove", "lpop", "pop_job_id", "run_job", "run_sync"),
        _WORKER,
    ),
    **dict.fromkeys(
        (
            "compact",
            "enqueue_dependents",
            "enqueue_ready_jobs_by_queue",
            "move_dependents_to_ready",
        ),
        _SCHEDULER,
    ),
    "get_redis_server_version": "`mqtasks runners list`: no Redis holds the tasks",
}
"""Names of ``rq.Queue``."""

REGISTRY: Final[dict[str, str]] = {
    "add": _ENQUEUE,
    **dict.fromkeys(("get_expired_job_ids", "get_job_ids"), _LIST),
    **dict.fromkeys(("get_expiration_time", "get_queue"), _LIST),
    "remove": _CANCEL,
    "requeue": "`mqtasks tasks retry TASK...`",
}
"""Names of ``rq.registry.BaseRegistry``."""

WORKER: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            "bootstrap",
            "check_for_suspension",
            "cleanup_execution",
            "dequeue_job_and_maintain_ttl",
            "execute_job",
            "fork_work_horse",
            "handle_exception",
            "handle_execution_ended",
            "handle_job_failure",
            "handle_job_retry",
            "handle_job_success",
            "handle_payload",
            "handle_work_horse_killed",
            "heartbeat",
            "increment_failed_job_count",
            "increment_successful_job_count",
            "increment_total_working_time",
            "main_work_horse",
            "maintain_heartbeats",
            "monitor_work_horse",
            "perform_job",
            "prepare_execution",
            "prepare_job_execution",
            "procline",
            "register_birth",
            "set_current_job_id",
            "set_current_job_working_time",
            "set_state",
            "setup_work_horse_signals",
            "subscribe",
            "unsubscribe",
            "wait_for_horse",
            "work",
        ),
        _WORKER,
    ),
    **dict.fromkeys(
        ("clean_group_registries", "clean_registries", "run_maintenance_tasks", "stop_scheduler"),
        _SCHEDULER,
    ),
    **dict.fromkeys(
        (
            "handle_warm_shutdown_request",
            "kill_horse",
            "register_death",
            "request_force_stop",
            "request_stop",
            "set_shutdown_requested_date",
            "teardown",
        ),
        _SIGNAL,
    ),
    "request_stop_execution": _CANCEL,
    "get_redis_server_version": "`mqtasks runners list`: no Redis holds the tasks",
    "get_heartbeat_ttl": _LIST_RUNNER,
    "serialize": "`mqtasks runners list -o json`",
}
"""Names of ``rq.Worker``."""
