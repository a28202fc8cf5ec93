"""Nothing of rq's classes changes anything: each public name was reviewed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue, Worker
from rq.registry import BaseRegistry, FailedJobRegistry, clean_registries
from rq.worker_registration import clean_worker_registry

from mqtasks.conditions import where
from mqtasks.rq import refusals
from mqtasks.rq.noredis import NoRedis
from mqtasks.rq.readonly import ReadOnlyView
from mqtasks.rq.view import QueueView, RegistryView, WorkerView
from tests.rq.conftest import Rq
from tests.support.stage import Stage

# Inherited as they are: constants, and methods that at most compute.
HARMLESS = {
    QueueView: {
        "DEFAULT_TIMEOUT",
        "death_penalty_class",
        "from_queue_key",
        "intermediate_queue_key",
        "is_async",
        "is_empty",
        "job_class",
        "key",
        "parse_args",
        "prepare_data",
        "redis_queue_namespace_prefix",
        "redis_queues_keys",
        "registry_cleaning_key",
    },
    RegistryView: {
        "cleanup",  # does nothing in the base class
        "count",  # calls get_job_count
        "death_penalty_class",
        "job_class",
        "key_template",
        "parse_job_id",
    },
    WorkerView: {
        "connection_timeout",
        "death_penalty_class",
        "dequeue_timeout",
        "execution",  # calls get_current_executions
        "executions_key",
        "exponential_backoff_factor",
        "horse_pid",
        "is_horse",
        "job_class",
        "key",
        "log_job_description",
        "log_result_lifespan",
        "max_connection_wait_time",
        "pop_exc_handler",
        "pubsub_channel_name",
        "push_exc_handler",
        "queue_class",
        "queue_keys",
        "queue_names",
        "redis_worker_namespace_prefix",
        "redis_workers_keys",
        "reorder_queues",
        "should_run_maintenance_tasks",
        "state",  # calls get_state and set_state
        "validate_queues",
    },
}
VIEWS: list[tuple[type, type, dict[str, str]]] = [
    (Queue, QueueView, refusals.QUEUE),
    (BaseRegistry, RegistryView, refusals.REGISTRY),
    (Worker, WorkerView, refusals.WORKER),
]


def example(view: type) -> Any:
    if view is QueueView:
        return QueueView("mail")
    if view is RegistryView:
        return QueueView("mail").failed_job_registry
    return WorkerView([], name="r1", prepare_for_work=False)


@pytest.mark.parametrize(("base", "view", "refused"), VIEWS, ids=lambda item: "")
def test_each_public_name_is_overridden_or_reviewed(
    base: type, view: type, refused: dict[str, str]
) -> None:
    inherited = {
        name
        for name in dir(base)
        if not name.startswith("_")
        and inspect.getattr_static(view, name) is inspect.getattr_static(base, name)
    }

    assert inherited <= HARMLESS[view]


@pytest.mark.parametrize(("base", "view", "refused"), VIEWS, ids=lambda item: "")
def test_a_refusal_names_the_command_to_use(
    base: type, view: type, refused: dict[str, str]
) -> None:
    names = [name for name in refused if hasattr(base, name)]
    assert len(names) >= len(refused) - 3  # those of one version only
    for name in names:
        with pytest.raises(ReadOnlyView, match=rf"{view.__name__}\.{name}: .*`mqtasks [a-z]+") as e:
            getattr(example(view), name)()
        assert refused[name] in str(e.value)


def test_a_view_cannot_become_a_worker() -> None:
    with pytest.raises(ReadOnlyView, match="`mqtasks worker MODULE:APP`"):
        WorkerView(["mail"], connection=redis.Redis())


def test_harmless_methods_answer_without_redis(stage: Stage) -> None:
    queue, worker = QueueView("mail"), WorkerView.all()[0]

    assert not queue.is_empty()
    assert queue.scheduler_pid is None
    assert not queue.acquire_maintenance_lock()
    queue.release_maintenance_lock()
    assert QueueView.from_queue_key(queue.key, redis.Redis()) == queue
    assert worker.get_current_job() is worker.get_current_job_id() is worker.execution is None
    assert worker.death_date is worker.shutdown_requested_date is None
    assert worker.queue_names() == ["mail", "7"]


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.set("key", 1),
        lambda client: client.llen("rq:queue:mail"),
        lambda client: client.pipeline().sadd("rq:queues", "x").execute(),
        lambda client: client.pubsub().subscribe("channel"),
        lambda client: client.register_script("return 1")(),
        lambda client: client.lock("name").acquire(),
        lambda client: client.ping(),
    ],
)
def test_the_stand_in_connection_refuses_what_is_no_cleaning(
    use: Callable[[redis.Redis], object],
) -> None:
    with pytest.raises(ReadOnlyView, match="mqtasks"):
        use(NoRedis())


def test_cleaning_changes_nothing(stage: Stage) -> None:
    before = stage.everything()

    for queue in QueueView.all():
        clean_registries(queue)
        clean_worker_registry(queue)

    assert stage.everything() == before


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("empty", "mail"), "mqtasks tasks cancel"),
        (("empty", "--all"), "mqtasks tasks cancel"),
        (("enqueue", "--queue", "mail", "os.getcwd"), "mqtasks enqueue"),
        (("enqueue", "--queue", "mail", "--schedule-in", "1s", "os.getcwd"), "mqtasks enqueue"),
    ],
)
def test_commands_that_change_something_end_with_the_remedy(
    stage: Stage, rq: Rq, arguments: tuple[str, ...], remedy: str
) -> None:
    before = stage.everything()

    done = rq(*arguments)

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert remedy in line
    assert stage.everything() == before


@pytest.mark.parametrize("worker_class", ["rq.Worker", "mqtasks.rq.view.WorkerView"])
def test_a_genuine_worker_executes_nothing(
    stage: Stage, rq: Rq, redis_url: str, tmp_path: Path, worker_class: str
) -> None:
    before = stage.everything()
    with redis.Redis.from_url(redis_url) as client:
        job = Queue("mail", connection=client).enqueue("os.mkdir", str(tmp_path / "executed"))

        done = rq("worker", "--burst", "mail", RQ_REDIS_URL=redis_url, RQ_WORKER_CLASS=worker_class)

        assert "use `mqtasks worker" in done.stderr or "with `mqtasks worker" in done.stderr
        assert job.get_status() == "queued"
        assert not FailedJobRegistry("mail", connection=client).get_job_ids()
    assert not (tmp_path / "executed").exists()
    assert stage.everything() == before
    assert stage.storage.query(where.everything()) == before[0]
