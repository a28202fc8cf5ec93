"""``mqtasks demo`` as a user starts it: real work, real processes, real kills."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys

import pytest

from mqtasks.demo.figures import source_files, standard_library

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def sources(tmp_path):
    """Some hundred files of the standard library, some of which do not parse."""
    folder = tmp_path / "sources"
    folder.mkdir()
    chosen = itertools.islice(source_files(standard_library()), 0, None, 4)
    for number, path in enumerate(chosen):
        (folder / f"{number}.py").write_bytes(path.read_bytes())
    (folder / "broken.py").write_text("def broken(:\n")
    return folder


def demo(*arguments):
    result = subprocess.run(
        [sys.executable, "-m", "mqtasks", "demo", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result


def check(result, files):
    """Check the verdict, which is in the last lines."""
    lines = result.stdout.splitlines()
    assert lines[-1] == "OK: the sums are equal, nothing was lost, nothing was done twice"
    assert sum(line.endswith("  equal") for line in lines[-7:]) == 6
    assert f"tasks {files}, lost 0, doubled 0;" in result.stdout
    ((fired, seconds),) = re.findall(r"firings (\d+) in (\d+) seconds", result.stdout)
    fired, seconds = int(fired), int(seconds)
    assert fired == seconds >= 1
    assert len(re.findall(r"^cron: ", result.stdout, re.MULTILINE)) == fired


def test_the_demo_in_one_process(sources):
    result = demo(sources)
    assert result.stderr == ""
    check(result, len(list(sources.iterdir())))


def test_the_demo_on_servers_survives_two_kills(sources):
    result = demo("--servers", sources)
    check(result, len(list(sources.iterdir())))
    assert re.search(r"\nkilled worker \d+ and its [1-9]\d* child processes", result.stdout)
    assert re.search(r"\nkilled the leading scheduler \d+ \(SIGKILL\)\n", result.stdout)


def test_a_folder_without_sources_is_refused(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "mqtasks", "demo", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("mqtasks: folder=")
    assert result.stderr.count("\n") == 1
