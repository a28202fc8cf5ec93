"""Each command on an SQLite file: what it prints, and its exit code."""

from __future__ import annotations

import json

import pytest

from mqtasks import TaskMetadata, TaskStatus
from mqtasks.app import MQTasks
from mqtasks.model import ExecuteResult, ResultCode, RunnerRecord
from mqtasks.storage.contract import Completion

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def service(database):
    with MQTasks(database) as app:
        yield app.service


def fail(service, task_id, text="broken"):
    """End a task as FAILED, as a worker would."""
    task = service.allocate(service.get(task_id), "r1")
    result = ExecuteResult(ResultCode.FAILED, text)
    service.storage.complete_many("r1", [Completion(task.id, task.epoch, result)])


# -- enqueue ---------------------------------------------------------------------------------------


def test_enqueue_checks_arguments_and_stores_what_a_worker_reads(mqtasks, app_module, service):
    ran = mqtasks("enqueue", app_module, "resize", '"a.jpg"', "width=320", "--id", "job-1")
    assert (ran.code, ran.out, ran.err) == (0, "task 1 (job-1) created\n", "")
    task = service.get(1)
    assert task.metadata.context == b'j[["a.jpg"],{"width":320}]'
    assert task.metadata.options.max_retry_times == 2
    again = mqtasks("enqueue", app_module, "resize", '"other.jpg"', "--id", "job-1", "-o", "json")
    assert json.loads(again.out) == [
        {"task_id": 1, "id": "job-1", "executor": "resize", "is_new": False}
    ]


def test_enqueue_takes_delay_priority_and_parent(mqtasks, app_module, service):
    ran = mqtasks(
        *("enqueue", app_module, "7", "--delay", "3600", "--priority", "-5", "--parent", "p")
    )
    assert ran.code == 0
    task = service.get(1)
    assert (task.metadata.executor, task.priority, task.parent_task_id) == (7, -5, "p")
    assert task.status is TaskStatus.SCHEDULED
    assert 3_590_000 < task.run_at - task.created_at < 3_610_000


def test_enqueue_takes_a_moment(mqtasks, app_module, service):
    assert mqtasks("enqueue", app_module, "7", "--at", "2100-01-01T01:00+01:00").code == 0
    assert service.get(1).run_at == 4_102_444_800_000


@pytest.mark.parametrize("moment", ["tomorrow", "2100-01-01T01:00"])
def test_enqueue_refuses_a_moment_that_is_not_one(mqtasks, app_module, moment):
    ran = mqtasks("enqueue", app_module, "7", "--at", moment)
    assert ran.code == 2
    assert ran.err.startswith(f"mqtasks: at='{moment}': must ")


def test_enqueue_by_code_stores_the_payload_as_it_is_and_warns(mqtasks, service):
    ran = mqtasks("enqueue", "--executor", "7", "--payload", "x=1", "--id", "raw")
    assert ran.code == 0
    assert ran.err == "mqtasks: no live runner has executor 7; the task waits for one\n"
    assert service.get(1).metadata == TaskMetadata("raw", 7, b"x=1")


def test_enqueue_by_code_does_not_warn_where_a_runner_has_it(mqtasks, service):
    runner = RunnerRecord(id="r1", holder="h", executors=("0000000007",))
    service.storage.register_runner(runner, 60_000, 3)
    assert mqtasks("enqueue", "--executor", "7").err == ""


def test_enqueue_waits_for_the_end(mqtasks, app_module, service):
    service.create(TaskMetadata("job-2", "fails"))
    fail(service, 1, "no luck today")
    ran = mqtasks("enqueue", app_module, "fails", "--id", "job-2", "--wait", "5")
    assert (ran.code, ran.err) == (1, "mqtasks: task 1 failed: no luck today\n")
    assert ran.out == "task 1 (job-2) had been created before\n"
    task = service.allocate(service.get(service.create(TaskMetadata("job-3", "resize"))), "r1")
    service.complete("r1", task, ExecuteResult(value=b'j"a@1"'))
    ran = mqtasks("enqueue", app_module, "resize", '"a"', "--id", "job-3", "--wait", "5")
    assert (ran.code, ran.out) == (0, "task 2 (job-3) had been created before\n'a@1'\n")
    ran = mqtasks("enqueue", "--executor", "7", "--wait", "0", "-o", "jsonl")
    assert ran.code == 1
    assert "mqtasks: task 3 has not ended after 0 s\n" in ran.err
    row = json.loads(ran.out)
    assert row.pop("id")
    assert row == {"task_id": 3, "executor": 7, "is_new": True}


def test_enqueue_prints_the_task_before_it_waits(mqtasks, app_module, service, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mqtasks.cli.enqueue._result", interrupt)
    ran = mqtasks("enqueue", app_module, "7", "--id", "a", "--wait", "5")
    assert ran == (130, "task 1 (a) created\n", "mqtasks: interrupted\n")
    ran = mqtasks("enqueue", app_module, "7", "--id", "b", "--wait", "5", "-o", "json")
    assert ran.code == 130
    assert json.loads(ran.out)[0]["task_id"] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["enqueue"],
        ["enqueue", "shop:app"],
        ["enqueue", "shop:app", "resize", '"a"', "--executor", "7"],
        ["enqueue", "shop:app", "resize", "--payload", "x"],
        ["enqueue", "--executor", "7", "--delay", "1", "--at", "2100-01-01T00:00Z"],
        ["enqueue", "--executor", "7", "--delay", "-1"],
    ],
)
def test_enqueue_refuses_what_makes_no_sense(mqtasks, app_module, service, arguments):
    ran = mqtasks(*arguments)
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "(see: mqtasks enqueue --help)" in ran.err
    assert service.query_task() == []


# -- tasks -----------------------------------------------------------------------------------------


@pytest.fixture
def stored(service):
    service.create_batch([TaskMetadata(f"t{n}", "a" if n % 2 else 7) for n in range(1, 5)])
    fail(service, 2)
    service.cancel(3)
    return service


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ([], [4, 3, 2, 1]),
        (["--limit", "1"], [4]),
        (["--status", "created"], [4, 1]),
        (["--status", "COMPLETED", "--status", "CANCELED"], [3, 2]),
        (["--executor", "a"], [3, 1]),
        (["--executor", "7"], [4, 2]),
        (["--runner", "r1"], [2]),
        (["--parent", "nobody"], []),
    ],
)
def test_tasks_list_filters(mqtasks, stored, filters, ids):
    ran = mqtasks("tasks", "list", *filters, "-o", "jsonl")
    assert ran.code == 0
    assert [json.loads(line)["task_id"] for line in ran.out.splitlines()] == ids


def test_tasks_list_is_a_table_for_people(mqtasks, stored):
    lines = mqtasks("tasks", "list", "--runner", "r1").out.splitlines()
    assert lines[0].split()[:5] == ["TASK", "ID", "ID", "EXECUTOR", "STATUS"]
    assert lines[1].split()[:5] == ["2", "t2", "7", "COMPLETED", "FAILED"]
    assert lines[1].endswith("broken")
    assert mqtasks("tasks", "list", "--parent", "nobody")[1:] == ("", "no such tasks\n")


@pytest.mark.parametrize("name", ["2", "t2"])
def test_tasks_show_prints_all_with_the_history(mqtasks, stored, name):
    shown = json.loads(mqtasks("tasks", "show", name, "-o", "json").out)
    assert (shown["task_id"], shown["id"], shown["status"]) == (2, "t2", "COMPLETED")
    assert (shown["outcome"], shown["error"], shown["context"]) == ("FAILED", "broken", "")
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["FAILED"]
    text = mqtasks("tasks", "show", name).out
    assert "epoch=1  runner=r1  outcome=FAILED" in text


def test_a_metadata_id_of_digits_needs_its_option(mqtasks, service):
    service.create(TaskMetadata("12", "a"))
    assert mqtasks("tasks", "show", "12").code == 1
    assert mqtasks("tasks", "show", "12", "--by-id").code == 0


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
def test_an_unknown_task_is_a_failure(mqtasks, stored, command):
    ran = mqtasks("tasks", command, "nobody")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "mqtasks: task 'nobody' is not stored (never created, or pruned)\n"


def test_an_unknown_number_is_said_to_be_not_stored(mqtasks, stored):
    ran = mqtasks("tasks", "cancel", "1", "99999", "2")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.splitlines() == [
        "task 1: canceled",
        "task 99999: not stored (never created, or pruned)",
        "task 2: ended before",
    ]
    ran = mqtasks("tasks", "retry", "2", "99999", "4")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.splitlines() == [
        "task 2: runs again",
        "task 99999: not stored (never created, or pruned)",
        "task 4: neither failed nor canceled",
    ]
    ran = mqtasks("tasks", "show", "99999")
    assert ran == (1, "", "mqtasks: task 99999 is not stored (never created, or pruned)\n")


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
def test_a_number_that_no_task_can_have(mqtasks, stored, command):
    ran = mqtasks("tasks", command, str(2**64 - 1))
    assert ran.code == 1
    assert "not stored" in ran.out + ran.err
    ran = mqtasks("tasks", command, str(2**64))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"mqtasks: task_id={2**64}: must be between 0 and 2**64 - 1\n"


def test_tasks_cancel_reports_each(mqtasks, stored):
    stored.allocate(stored.get(4), "r9")
    ran = mqtasks("tasks", "cancel", "1", "t4", "2")
    assert ran.code == 1
    assert ran.out.splitlines() == [
        "task 1: canceled",
        "task 4: asked of r9",
        "task 2: ended before",
    ]
    assert mqtasks("tasks", "cancel", "4").code == 0


def test_tasks_retry_runs_what_failed_again(mqtasks, stored):
    ran = mqtasks("tasks", "retry", "t2", "3", "-o", "json")
    assert ran.code == 0
    assert [row["outcome"] for row in json.loads(ran.out)] == ["runs again", "runs again"]
    assert stored.get(2).status is TaskStatus.CREATED
    ran = mqtasks("tasks", "retry", "1")
    assert (ran.code, ran.out) == (1, "task 1: neither failed nor canceled\n")


# -- runners, cron ---------------------------------------------------------------------------------


def test_runners_list_says_who_is_alive(mqtasks, service):
    assert mqtasks("runners", "list")[:2] == (0, "")
    storage = service.storage
    for name, lease in (("live", 60_000), ("lapsed", 0)):
        runner = RunnerRecord(id=name, holder=name, executors=("a", "0000000007"), host="h")
        storage.register_runner(runner, lease, 3)
    service.create(TaskMetadata("t", "a"))
    service.allocate(service.get(1), "live")
    rows = {row["runner"]: row for row in json.loads(mqtasks("runners", "list", "-o", "json").out)}
    assert (rows["live"]["alive"], rows["live"]["tasks"]) == (True, 1)
    assert (rows["lapsed"]["alive"], rows["lapsed"]["tasks"]) == (False, 0)
    assert rows["live"]["executors"] == ["a", 7]


def test_runners_list_checks_that_one_is_alive(mqtasks, service):
    ran = mqtasks("runners", "list", "--check")
    assert ran.code == 4
    assert "mqtasks: no runner is alive: start one with mqtasks worker MODULE:APP\n" in ran.err
    service.storage.register_runner(RunnerRecord(id="r", holder="h"), 60_000, 3)
    assert mqtasks("runners", "list", "--check").code == 0


def test_cron_add_list_remove(mqtasks, app_module, service):
    add = ("cron", "add", "nightly", "30 2 * * *", app_module, "resize", '"a"', "width=1")
    ran = mqtasks(*add, "--timezone", "Europe/Berlin")
    assert ran[:2] == (0, "cron task nightly added\n")
    again = mqtasks(*add, "--timezone", "Europe/Berlin")
    assert again == (1, "cron task nightly existed before\n", "")
    (row,) = json.loads(mqtasks("cron", "list", "-o", "json").out)
    assert (row["id"], row["cron"], row["timezone"]) == ("nightly", "30 2 * * *", "Europe/Berlin")
    assert (row["executor"], row["context"]) == ("resize", 'j[["a"],{"width":1}]')
    assert service.query_cron_task()[0].metadata.options.max_retry_times == 2
    assert mqtasks("cron", "remove", "nightly")[:2] == (0, "cron task nightly removed\n")
    ran = mqtasks("cron", "remove", "nightly")
    assert ran.code == 1
    assert ran.err == ("mqtasks: there is no cron task 'nightly': mqtasks cron list shows them\n")


def test_cron_add_of_another_definition_says_what_differs(mqtasks, app_module, service):
    assert mqtasks("cron", "add", "c", "30 2 * * *", app_module, "resize", '"a"').code == 0
    ran = mqtasks("cron", "add", "c", "0 3 * * *", "--executor", "7")
    assert (ran.code, ran.out) == (1, "cron task c existed before\n")
    assert ran.err.startswith("mqtasks: cron task 'c' is not what was given: ")
    assert "cron is '30 2 * * *', not '0 3 * * *'; executor is 'resize', not 7;" in ran.err
    assert ran.err.endswith("; to replace it, run mqtasks cron remove first\n")
    ran = mqtasks(
        *("cron", "add", "c", "30 2 * * *", app_module, "resize", '"a"'),
        *("--timezone", "Asia/Tokyo", "-o", "jsonl"),
    )
    assert ran.code == 1
    assert json.loads(ran.out)["differs"] == {"timezone": ["UTC", "Asia/Tokyo"]}
    assert [cron.cron_expr for cron in service.query_cron_task()] == ["30 2 * * *"]


# -- migrate, checks -------------------------------------------------------------------------------


def test_migrate_status_sql_and_up_on_a_file(mqtasks):
    ran = mqtasks("migrate", "status", "-o", "json")
    rows = json.loads(ran.out)
    assert rows
    assert not any(row["applied_at"] for row in rows)
    assert ran.code == 5
    assert ran.err.endswith("tasks.db does not exist; run: mqtasks migrate up\n")
    assert "CREATE TABLE" in mqtasks("migrate", "sql").out
    ran = mqtasks("migrate", "up")
    assert ran.code == 0
    assert ran.out.startswith("applied 0001_")
    rows = json.loads(mqtasks("migrate", "status", "-o", "json").out)
    assert all(row["applied_at"] for row in rows)
    assert mqtasks("migrate", "up") == (0, "", "the schema is up to date\n")
    assert mqtasks("migrate", "sql") == (0, "", "")


def test_migrate_sql_needs_no_server(mqtasks):
    ran = mqtasks("--url", "mysql://u:p@127.0.0.1:1/x", "migrate", "sql", "--dialect", "mysql")
    assert ran.code == 0
    assert "CREATE TABLE IF NOT EXISTS mqtasks_task" in ran.out


def test_scheduler_check(mqtasks, service):
    ran = mqtasks("scheduler", "--check")
    assert ran.code == 0
    assert ran.out.startswith("settings, database and schema are fine\n")
