"""The plugin in projects of their own, run as their users run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

APP = """
from mqtasks import MQTasks

app = MQTasks()
sent = []

@app.task(max_retry_times=1, retry_interval=30, jitter=0)
def send(to: str) -> str:
    if to == "nobody":
        raise ValueError("no such address")
    sent.append(to)
    return f"sent to {to}"
"""
TESTS = """
import pytest
from shop.tasks import send, sent

@pytest.fixture(autouse=True)
def nothing_sent():
    sent.clear()

def test_manual(mqtasks_app):
    handle = send.enqueue("ada@example.org")
    mqtasks_app.assert_enqueued(send, "ada@example.org", count=1)
    assert sent == []
    mqtasks_app.drain()
    assert handle.result() == "sent to ada@example.org"

@pytest.mark.mqtasks(inline=True)
def test_inline(mqtasks_app):
    assert send.enqueue("bob@example.org").result() == "sent to bob@example.org"

@pytest.mark.mqtasks(inline=True, raise_errors=False)
def test_marker_options(mqtasks_app):
    send.enqueue("nobody")
    assert len(mqtasks_app.advance(30).failed) == 1

@pytest.mark.parametrize("n", range(20))
def test_isolation(mqtasks_app, n):
    send.enqueue("someone")
    mqtasks_app.assert_enqueued(send, count=1)
"""


def run(project: Path, *options: str, autoload: bool = False) -> subprocess.CompletedProcess[str]:
    """Run pytest in a project, without variables that lead to a server."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MQTASKS_")
    }
    environment["MQTASKS_URL"] = "mysql://nobody@127.0.0.1:1/nothing"
    if not autoload:  # other plugins cost more time than all the tests
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        options = ("-p", "mqtasks.testing.plugin", *options)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "tasks.py").write_text(APP)
    (tmp_path / "test_shop.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nmqtasks_app = shop.tasks:app\n"
        "addopts = --strict-markers --strict-config\nfilterwarnings = error\n"
    )
    return tmp_path


def test_s7_a_project_needs_an_ini_option_and_no_server(project: Path) -> None:
    answer = run(project, "-q", autoload=True)

    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "23 passed" in answer.stdout


def test_it_works_under_xdist(project: Path) -> None:
    answer = run(project, "-q", "-p", "xdist", "-n", "2")

    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "23 passed" in answer.stdout


def test_without_the_option_the_fixture_says_what_to_do(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\n")

    answer = run(project, "-q", "-k", "test_manual")

    assert answer.returncode == 1
    assert 'mqtasks_app = "MODULE:APP"' in answer.stdout


def test_the_application_can_be_a_fixture(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\n")
    (project / "conftest.py").write_text(
        "import pytest\nfrom shop.tasks import app\n\n"
        "@pytest.fixture\ndef mqtasks_application():\n    return app\n"
    )

    answer = run(project, "-q")

    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_a_wrong_name_is_explained(project: Path) -> None:
    answer = run(project, "-q", "-o", "mqtasks_app=shop.task:app", "-k", "test_manual")

    assert answer.returncode == 1
    assert "there is no module 'shop.task'" in answer.stdout


def test_the_plugin_costs_nothing_where_it_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n\ndef test_nothing_is_loaded():\n"
        "    loaded = [n for n in sys.modules if n.split('.')[0] == 'mqtasks']\n"
        "    assert 'mqtasks.testing.plugin' in loaded\n"
        "    assert set(loaded) <= {\n"
        "        'mqtasks', 'mqtasks._version', 'mqtasks.testing', 'mqtasks.testing.plugin'}\n"
        "    assert 'msgspec' not in sys.modules\n"
    )

    answer = run(tmp_path, "-q")

    assert answer.returncode == 0, answer.stdout


def test_s7_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "testing.md").read_text()
    tasks, tests = re.findall(r"^```py\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (ini,) = re.findall(r"^```ini\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "tasks.py").write_text(tasks)
    (tmp_path / "test_shop.py").write_text(tests)
    (tmp_path / "pytest.ini").write_text(ini)

    answer = run(tmp_path, "-q")

    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "3 passed" in answer.stdout
