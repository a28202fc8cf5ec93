"""The work of the demo: figures of one source file, and their sum. Pure; knows no tasks."""

from __future__ import annotations

import ast
import hashlib
import os
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

_SKIPPED: Final = frozenset({"site-packages", "dist-packages", "__pycache__", "node_modules"})
PARSED_AS: Final = "mqtasks-demo-input"
"""File name that sources are parsed under, so that their warnings can be told from all others."""


class Figures(msgspec.Struct, frozen=True):
    """What is in one source file, or in many: then ``digest`` combines theirs."""

    files: int
    parsed: int
    """Files that are Python; test data of the standard library is not, on purpose."""
    lines: int
    functions: int
    classes: int
    digest: str
    """SHA-256 of the file; of many: all their digests added up modulo 2**256, in any order."""


NOTHING: Final = Figures(0, 0, 0, 0, 0, f"{0:064x}")


def source_files(folder: Path) -> list[Path]:
    """Return the Python files below a folder in order, installed packages left out."""

    def walk() -> Iterator[Path]:
        for parent, folders, files in os.walk(folder):
            folders[:] = [name for name in folders if name not in _SKIPPED]
            yield from (Path(parent, name) for name in files if name.endswith(".py"))

    return sorted(walk())


def standard_library() -> Path:
    """Return the folder of the running interpreter's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def measure(path: Path) -> Figures:
    """Read, parse and count one file. Raises OSError if it cannot be read."""
    source = path.read_bytes()
    functions = classes = 0
    try:
        tree = ast.parse(source, filename=PARSED_AS)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is not None:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions += 1
            elif isinstance(node, ast.ClassDef):
                classes += 1
    lines = source.count(b"\n") + (not source.endswith(b"\n") and source != b"")
    digest = hashlib.sha256(source).hexdigest()
    return Figures(1, int(tree is not None), lines, functions, classes, digest)


def add_up(figures: Iterable[Figures]) -> Figures:
    """Return the sum of many figures; their order does not matter."""
    files = parsed = lines = functions = classes = digest = 0
    for item in figures:
        files += item.files
        parsed += item.parsed
        lines += item.lines
        functions += item.functions
        classes += item.classes
        digest += int(item.digest, 16)
    return Figures(files, parsed, lines, functions, classes, f"{digest % 2**256:064x}")
