"""The shape of the repository: layers, file sizes, waits, and a test for each protocol rule."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mqtasks"
LONGEST = 400
MEDIAN = 150
RULES = range(1, 17)


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def sources() -> list[Path]:
    found = sorted(PACKAGE.rglob("*.py"))
    assert found
    return found


def test_imports_respect_the_layers():
    result = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_no_file_is_long():
    long = {str(path.relative_to(ROOT)): lines(path) for path in sources() if lines(path) > LONGEST}
    assert long == {}


def test_the_median_file_is_short():
    assert statistics.median(lines(path) for path in sources()) < MEDIAN


def sleeps(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that name `time.sleep`, however it was imported; ``sleep(0)`` only yields."""
    yielding = {
        id(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and [getattr(argument, "value", None) for argument in node.args] == [0]
    }
    for node in ast.walk(tree):
        match node:
            case ast.Attribute() if id(node) in yielding:
                pass
            case ast.Attribute(value=ast.Name(id="time"), attr="sleep"):
                yield node.lineno
            case ast.ImportFrom(module="time", names=names) if any(
                name.name == "sleep" for name in names
            ):
                yield node.lineno


def test_nothing_sleeps():
    """A sleep cannot be woken by stop(); also not under a `noqa`."""
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources()
        for line in sleeps(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize("source", ["import time\ntime.sleep(1)", "from time import sleep"])
def test_sleeps_are_recognised(source):
    assert list(sleeps(ast.parse(source)))


def test_giving_way_to_other_threads_is_no_sleep():
    assert not list(sleeps(ast.parse("import time\ntime.sleep(0)")))


def names_of_tests() -> Iterator[str]:
    """Yield the name of every test function of the suite."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name


def test_each_protocol_rule_has_its_test():
    proven = {
        int(match[1]) for name in names_of_tests() if (match := re.match(r"test_p(\d+)_", name))
    }
    assert sorted(set(RULES) - proven) == []
    assert sorted(proven - set(RULES)) == []
