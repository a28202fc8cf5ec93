"""Type checkers accept right calls and reject wrong ones, line by line (M24).

basedpyright stands for pyright: it is a fork with the same checker, and unlike pyright its package
brings the program along instead of fetching it at first use. It runs in pyright's "strict" mode.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = ("good.py", "wrong.py")
WRONG = {
    number
    for number, line in enumerate((HERE / "wrong.py").read_text().splitlines(), 1)
    if "# wrong: " in line
}
LEAST = 12
_MYPY_ERROR = re.compile(r"(?P<file>[^:\n]+):(?P<line>\d+): error: ")


def by_mypy(folder: Path) -> dict[str, set[int]]:
    """Return the lines at which mypy --strict finds an error, by name of the file."""
    config = folder / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\n")
    answer = subprocess.run(
        [sys.executable, "-m", "mypy", f"--config-file={config}", f"--cache-dir={folder}/cache"]
        + [str(HERE / name) for name in FILES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1, answer.stdout + answer.stderr
    found: dict[str, set[int]] = {name: set() for name in FILES}
    for match in _MYPY_ERROR.finditer(answer.stdout):
        found.setdefault(Path(match["file"]).name, set()).add(int(match["line"]))
    return found


def by_pyright(folder: Path) -> dict[str, set[int]]:
    """Return the lines at which pyright finds an error, by name of the file."""
    config = folder / "pyrightconfig.json"
    config.write_text(
        json.dumps(
            {
                "include": [str(HERE / name) for name in FILES],
                "extraPaths": [str(ROOT)],
                "pythonVersion": "3.11",
                "typeCheckingMode": "strict",
            }
        )
    )
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "basedpyright", "--outputjson"),
            *("--project", str(config), "--pythonpath", sys.executable),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1, answer.stdout + answer.stderr
    found: dict[str, set[int]] = {name: set() for name in FILES}
    for item in json.loads(answer.stdout)["generalDiagnostics"]:
        if item["severity"] == "error":
            line = item["range"]["start"]["line"] + 1
            found.setdefault(Path(item["file"]).name, set()).add(line)
    return found


def test_there_are_enough_wrong_calls() -> None:
    assert len(WRONG) >= LEAST


@pytest.mark.timeout(180)
@pytest.mark.parametrize("check", [by_mypy, by_pyright], ids=["mypy", "pyright"])
def test_a_checker_rejects_each_wrong_call_and_nothing_else(check, tmp_path: Path) -> None:
    assert check(tmp_path) == {"good.py": set(), "wrong.py": WRONG}
