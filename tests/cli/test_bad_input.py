"""Whatever is wrong: one line that says what to do, the documented code, no traceback."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mqtasks.cli.exits import ExitCode, code_of, line_of
from mqtasks.cli.main import run
from mqtasks.errors import MQTasksError, SchemaMismatch, StorageUnavailable
from mqtasks.process.private import free_port
from mqtasks.storage import migrate
from tests.cli.conftest import Ran

USAGE, UNREACHABLE, SCHEMA = ExitCode.USAGE, ExitCode.UNREACHABLE, ExitCode.SCHEMA
DOCUMENTED = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
SECRET = "s3cret-word"


def refused(ran, code, *parts):
    """Check that a command was refused with one line."""
    assert ran.code == code, ran
    assert ran.out == ""
    assert ran.err.startswith("mqtasks: ")
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err
    assert SECRET not in ran.err
    for part in parts:
        assert part in ran.err


def test_unreachable_database(mqtasks):
    url = f"mysql://me:{SECRET}@127.0.0.1:{free_port()}/x"
    refused(mqtasks("--url", url, "tasks", "list"), UNREACHABLE, "is the server running")


def test_unreachable_file(mqtasks, tmp_path):
    url = f"sqlite:///{tmp_path}/missing/tasks.db"
    refused(mqtasks("--url", url, "tasks", "list"), UNREACHABLE, "check that its folder exists")


@pytest.mark.parametrize(
    "command",
    [
        "tasks list",
        "tasks show 1",
        "tasks cancel 1",
        "tasks retry 1",
        "runners list --check",
        "cron list",
        "cron remove x",
        "scheduler --check",
        "worker --check shop:app",
    ],
)
@pytest.mark.parametrize("content", [None, b""])
def test_a_command_that_only_looks_creates_no_file(
    mqtasks, database, app_module, tmp_path, command, content
):
    file = tmp_path / "tasks.db"
    if content is not None:
        file.write_bytes(content)
    refused(mqtasks(*command.split()), SCHEMA, "run: mqtasks migrate up")
    assert file.exists() is (content is not None)
    assert [item.stat().st_size for item in tmp_path.glob("tasks.db*")] in ([], [0])


@pytest.mark.parametrize("command", ["enqueue --executor 7", "cron add x @daily --executor 7"])
def test_a_producer_creates_the_file(mqtasks, database, command):
    assert mqtasks(*command.split()).code == 0
    assert mqtasks("tasks", "list").code == 0


def test_a_file_that_is_no_database(mqtasks, database, tmp_path):
    (tmp_path / "tasks.db").write_text("once upon a time " * 1000)
    for command in (("tasks", "list"), ("migrate", "up"), ("enqueue", "--executor", "7")):
        refused(mqtasks(*command), USAGE, f"{tmp_path}/tasks.db: the file is no SQLite database")


def test_unknown_host(mqtasks):
    url = f"mysql://me:{SECRET}@nowhere.invalid/x"
    refused(mqtasks("--url", url, "scheduler"), UNREACHABLE, "host name cannot be resolved")


def test_wrong_password(mqtasks, mysql_url):
    place = urlsplit(mysql_url)
    url = f"mysql://{place.username}:{SECRET}@{place.hostname}:{place.port}{place.path}"
    refused(mqtasks("--url", url, "tasks", "list"), USAGE, "user or password is wrong")


def test_unknown_database(mqtasks, mysql_url):
    refused(mqtasks("--url", f"{mysql_url}_no", "tasks", "list"), USAGE, "CREATE DATABASE")


@pytest.mark.parametrize("url", [f"postgres://me:{SECRET}@h/x", "tasks.db", "mysql://h/a/b"])
def test_unknown_scheme_or_malformed_url(mqtasks, url):
    refused(mqtasks("--url", url, "tasks", "list"), USAGE, "mysql://user:password@host:3306/")


def test_unknown_redis_scheme(mqtasks, database):
    mqtasks("migrate", "up")
    ran = mqtasks("--redis", f"http://me:{SECRET}@h", "tasks", "list")
    refused(ran, USAGE, "redis://[user:password@]host:6379/0")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--ulr", "x", "tasks", "list"], "No such option '--ulr'. Did you mean '--url'?"),
        (["tasks", "list", "--statsu", "x"], "'--statsu'. Did you mean '--status'?"),
        (["tasks", "list", "--status", "lost"], "'lost' is not one of"),
        (["tasks", "list", "--limit", "0"], "0 is not in the range x>=1"),
        (["tasks", "lsit"], "No such command 'lsit'"),
        (["tasks", "cancel"], "name tasks, or select them"),
    ],
)
def test_unknown_option(mqtasks, database, arguments, says):
    refused(mqtasks(*arguments), USAGE, says, "--help)")


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--log-level", "loud", "log_level='loud' (argument): must be one of debug, info"),
        ("--log-format", "xml", "log_format='xml' (argument): must be one of text, json"),
        ("--namespace", "a b", "namespace='a b' (argument): must be 1 to 64 letters"),
        (
            "--config",
            "nowhere.toml",
            "mqtasks: --config='nowhere.toml': no such file; looked for /",
        ),
    ],
)
def test_a_bad_setting(mqtasks, database, option, value, says):
    refused(mqtasks(option, value, "tasks", "list"), USAGE, says)


def test_an_unknown_setting_in_the_file(mqtasks, tmp_path):
    (tmp_path / "mqtasks.toml").write_text('ulr = "sqlite:///x.db"\n')
    refused(mqtasks("tasks", "list"), USAGE, "unknown setting 'ulr'", "did you mean 'url'")


@pytest.mark.parametrize("command", [["tasks", "list"], ["scheduler"], ["enqueue", "--executor=7"]])
def test_a_schema_that_is_missing(mqtasks, empty_mysql_url, command):
    refused(mqtasks("--url", empty_mysql_url, *command), SCHEMA, "run: mqtasks migrate up")


def test_migrate_up_repairs_it_and_status_says_so(mqtasks, empty_mysql_url):
    ran = mqtasks("--url", empty_mysql_url, "migrate", "status")
    assert (ran.code, ran.err.count("\n")) == (SCHEMA, 1)
    assert mqtasks("--url", empty_mysql_url, "migrate", "sql").out.count("CREATE TABLE") > 1
    assert mqtasks("--url", empty_mysql_url, "migrate", "up").out.startswith("applied 0001_")
    assert mqtasks("--url", empty_mysql_url, "migrate", "status").code == 0
    assert mqtasks("--url", empty_mysql_url, "tasks", "list").code == 0


def test_a_schema_that_is_too_new(mqtasks, mariadb, mysql_url):
    with contextlib.closing(mariadb.client(urlsplit(mysql_url).path[1:])) as client:
        client.cursor().execute(
            "INSERT INTO mqtasks_schema_version (version, name, applied_at)"
            " VALUES (9999, 'pre_future', 1)"
        )
    refused(mqtasks("--url", mysql_url, "tasks", "list"), SCHEMA, "newer", "upgrade mqtasks here")
    refused(mqtasks("--url", mysql_url, "migrate", "up"), SCHEMA, "9999")


def test_a_file_with_a_schema_that_is_too_new(mqtasks, database, tmp_path):
    assert mqtasks("migrate", "up").code == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "tasks.db")) as connection, connection:
        connection.execute(
            "INSERT INTO mqtasks_schema_version (version, name, applied_at)"
            " VALUES (9999, 'pre_future', 1)"
        )
    refused(mqtasks("tasks", "list"), SCHEMA, "newer than this release")


def test_a_schema_that_is_too_old(mqtasks, mysql_url, monkeypatch):
    """A later release, which has one more migration, meets this one's schema."""
    known = migrate.migrations("mysql")
    later = migrate.Migration(known[-1].version + 1, "pre_later", "SELECT 1;\n")
    monkeypatch.setattr(migrate, "migrations", lambda dialect: (*known, later))
    ran = mqtasks("--url", mysql_url, "scheduler")
    refused(ran, SCHEMA, "older than this release", "_pre_later); run: mqtasks migrate up")


def test_oversize_payload(mqtasks, database, tmp_path, app_module):
    (tmp_path / "big").write_bytes(b"x" * (2**20 + 1))
    ran = mqtasks("enqueue", "--executor", "7", "--payload", f"@{tmp_path}/big")
    refused(ran, USAGE, "is 1048577 bytes, the limit is 1048576", "pass a reference")
    ran = mqtasks("cron", "add", "c", "* * * * *", "--executor", "7", "--payload", "@big")
    refused(ran, USAGE, "context of cron 'c' is 1048577 bytes")


@pytest.mark.parametrize("option", ["--id", "--parent"])
def test_an_id_over_255_bytes(mqtasks, database, option):
    ran = mqtasks("enqueue", "--executor", "7", option, "ü" * 128)
    refused(ran, USAGE, "is 256 bytes of UTF-8, the limit is 255; shorten it")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cat.jpg"], "is not JSON; if it is meant as text, write '\"cat.jpg\"'"),
        (['"a"', "wdith=3"], "wdith"),
        (['"a"', 'width="big"'], "width"),
        ([], "path"),
        (['"a"', "1", "2"], "positional"),
    ],
)
def test_an_argument_that_does_not_fit(mqtasks, database, app_module, arguments, says):
    refused(mqtasks("enqueue", app_module, "resize", *arguments), USAGE, says)


def test_an_argument_that_cannot_be_serialised(mqtasks, database, app_module):
    """Python's JSON reader takes it, but it is not JSON: nobody could read it back."""
    ran = mqtasks("enqueue", app_module, "resize", '"a"', "width=Infinity")
    refused(ran, USAGE, "width", "inf")


def test_an_unknown_executor_code(mqtasks, database, app_module):
    ran = mqtasks("enqueue", app_module, "resise", '"a"')
    refused(ran, USAGE, "executor 'resise' is not registered (registered:", "resize")


@pytest.mark.parametrize("code", ["-1", "4294967296", "", "a\nb", "\x1b[31m"])
def test_an_impossible_executor_code(mqtasks, database, code):
    refused(mqtasks("enqueue", f"--executor={code}"), USAGE, "executor=")
    refused(mqtasks("cron", "add", "c", "* * * * *", f"--executor={code}"), USAGE, "executor=")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["every day"], "use 5 fields (minute hour day month weekday)"),
        (["61 * * * *"], "61"),
        (["* * * * *", "--timezone", "Mars/Base"], "use an IANA name"),
    ],
)
def test_an_invalid_cron_expression(mqtasks, database, arguments, says):
    refused(mqtasks("cron", "add", "c", *arguments, "--executor", "7"), USAGE, says)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("shop", "name it MODULE:APP"),
        ("nowhere.shop:app", "there is no module 'nowhere'"),
        ("shop:ap", "shop has no 'ap'"),
        ("shop:not_an_app", "is of type int, not an MQTasks app"),
        ("broken:app", "broken.py:2: ZeroDivisionError: division by zero"),
        ("needs:app", "needs.py:1: ModuleNotFoundError: No module named 'missing_dependency'"),
        ("syntax:app", "syntax.py:1: SyntaxError"),
        ("script:app", "script.py:2: SystemExit: 0"),
    ],
)
@pytest.mark.parametrize("command", ["enqueue", "dev", "worker --check"])
def test_an_app_that_cannot_be_imported(
    mqtasks, database, tmp_path, app_module, command, name, says
):
    (tmp_path / "broken.py").write_text("x = 0\n1 / x\n")
    (tmp_path / "needs.py").write_text("import missing_dependency\n")
    (tmp_path / "syntax.py").write_text("def broken(:\n")
    (tmp_path / "script.py").write_text("import sys\nsys.exit(0)\n")
    arguments = [name, "resize"] if command == "enqueue" else [name]
    refused(mqtasks(*command.split(), *arguments), USAGE, says)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere:app", "there is no module 'nowhere'"),
        ("broken:app", "broken.py:2: ZeroDivisionError: division by zero"),
        ("script:app", "script.py:2: SystemExit: 0"),
        ("empty:app", "app='empty:app' has no task: decorate a function with @app.task"),
    ],
)
def test_a_worker_whose_processes_cannot_start(database, tmp_path, name, says):
    (tmp_path / "broken.py").write_text("x = 0\n1 / x\n")
    (tmp_path / "script.py").write_text("import sys\nsys.exit(0)\n")
    (tmp_path / "empty.py").write_text("from mqtasks import MQTasks\napp = MQTasks()\n")
    result = subprocess.run(
        [sys.executable, "-m", "mqtasks", "worker", name],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    refused(Ran(result.returncode, result.stdout, result.stderr), USAGE, says)


def test_a_traceback_only_on_demand_and_without_secrets(mqtasks):
    url = f"mysql://me:{SECRET}@127.0.0.1:{free_port()}/x"
    ran = mqtasks("--url", url, "tasks", "list", "--log-level", "debug")
    assert ran.code == UNREACHABLE
    assert "Traceback" in ran.err
    assert ran.err.splitlines()[-1].startswith("mqtasks: mysql://me:***@127.0.0.1")
    assert SECRET not in ran.err


def test_a_bug_is_one_line_too(mqtasks, monkeypatch):
    monkeypatch.setattr("mqtasks.cli.session.load_settings", lambda *_, **__: 1 / 0)
    refused(mqtasks("tasks", "list"), ExitCode.FAILURE, "unexpected ZeroDivisionError: division")


def test_an_interrupted_import_is_an_interrupt(mqtasks, database, tmp_path):
    (tmp_path / "slow.py").write_text("raise KeyboardInterrupt\n")
    assert mqtasks("worker", "--check", "slow:app") == (130, "", "mqtasks: interrupted\n")


def test_an_interrupt_is_reported_as_shells_do(mqtasks, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("mqtasks.cli.session.load_settings", interrupt)
    assert mqtasks("tasks", "list")[:3] == (130, "", "mqtasks: interrupted\n")


def test_every_error_has_a_code_and_is_one_line():
    assert code_of(StorageUnavailable("x")) == UNREACHABLE
    assert code_of(SchemaMismatch("x")) == SCHEMA
    assert code_of(MQTasksError("x")) == ExitCode.FAILURE
    assert line_of(MQTasksError("two\n lines")) == "two lines"


def test_the_codes_are_documented():
    text = DOCUMENTED.read_text(encoding="utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert documented == {*ExitCode, 130}
    assert run(["--help"]) == ExitCode.OK


@pytest.mark.parametrize(
    "arguments",
    [
        ("--url", "u:hidden@h/db"),
        ("--url", "mysql//u:hidden@h/db"),
        ("--url", "mysql:/u:hidden@h/db"),
        ("--url", "mysql://u@h/db?password=hidden"),
        ("--url", "mysql://u:s[hidden@h/db"),
        ("--redis", ":hidden@h/0"),
    ],
)
def test_a_mistyped_url_is_refused_without_its_password(mqtasks, database, arguments):
    mqtasks("migrate", "up")
    ran = mqtasks(*arguments, "tasks", "list")
    refused(ran, USAGE)
    assert "hidden" not in ran.out + ran.err


@pytest.mark.parametrize("check", [(), ("--check",)])
@pytest.mark.parametrize(
    ("runner_id", "processes", "remedy"),
    [
        ("a" * 256, "1", "256 bytes of UTF-8, the limit is 255"),
        ("a" * 254, "2", "256 bytes of UTF-8, the limit is 255"),
        ("a\nb", "1", "control characters"),
        ("", "1", "empty"),
    ],
)
def test_a_runner_id_that_no_runner_may_have(
    mqtasks, database, app_module, runner_id, processes, remedy, check
):
    ran = mqtasks(
        *("worker", app_module, "--runner-id", runner_id, "--processes", processes), *check
    )
    refused(ran, USAGE, "runner_id", remedy)
