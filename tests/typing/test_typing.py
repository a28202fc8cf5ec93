"""Type checkers accept examples and right calls, and reject wrong ones, line by line (M24).

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

ROOT = Path(__file__).resolve().parents[2]
WRONG_FILE = "tests/typing/wrong.py"
EXAMPLES = tuple(
    path.relative_to(ROOT).as_posix()
    for path in sorted(ROOT.glob("examples/**/*.py"))
    if "django_shop" not in path.parts  # Django comes without annotations
)
FILES = ("tests/typing/good.py", WRONG_FILE, *EXAMPLES)
WRONG = {
    number
    for number, line in enumerate((ROOT / WRONG_FILE).read_text().splitlines(), 1)
    if "# wrong: " in line
}
LEAST = 12
_MYPY_ERROR = re.compile(r"(?P<file>[^:\n]+):(?P<line>\d+): error: ")


def by_mypy(folder: Path) -> dict[str, set[int]]:
    """Return the lines at which mypy --strict finds an error, by path of the file."""
    config = folder / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\nexplicit_package_bases = True\n")
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", f"--config-file={config}"),
            *(f"--cache-dir={folder}/cache", *FILES),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1, answer.stdout + answer.stderr
    found: dict[str, set[int]] = {name: set() for name in FILES}
    for match in _MYPY_ERROR.finditer(answer.stdout):
        found.setdefault(_relative(match["file"]), set()).add(int(match["line"]))
    return found


def by_pyright(folder: Path) -> dict[str, set[int]]:
    """Return the lines at which pyright finds an error, by path of the file."""
    config = folder / "pyrightconfig.json"
    config.write_text(
        json.dumps(
            {
                "include": [str(ROOT / name) for name in FILES],
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
            found.setdefault(_relative(item["file"]), set()).add(line)
    return found


def _relative(path: str) -> str:
    return (ROOT / path).resolve().relative_to(ROOT).as_posix()


def test_there_are_enough_wrong_calls() -> None:
    assert len(WRONG) >= LEAST
    assert len(EXAMPLES) >= 4


@pytest.mark.timeout(180)
@pytest.mark.parametrize("check", [by_mypy, by_pyright], ids=["mypy", "pyright"])
def test_a_checker_rejects_each_wrong_call_and_nothing_else(check, tmp_path: Path) -> None:
    assert check(tmp_path) == {name: WRONG if name == WRONG_FILE else set() for name in FILES}
