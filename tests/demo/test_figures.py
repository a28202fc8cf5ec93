"""Figures of source files, and their sum."""

from __future__ import annotations

import hashlib
import random

import pytest

from mqtasks.demo.figures import NOTHING, Figures, add_up, measure, source_files

SOURCE = "class A:\n    def f(self): ...\n    async def g(self):\n        def h(): ...\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "good.py").write_text(SOURCE)
    (tmp_path / "bad.py").write_text("def broken(:\n")
    (tmp_path / "null.py").write_bytes(b"a = 1\0\n")
    (tmp_path / "notes.txt").write_text("x")
    for skipped in ("site-packages", "__pycache__"):
        (tmp_path / skipped).mkdir()
        (tmp_path / skipped / "other.py").write_text(SOURCE)
    return tmp_path


def test_source_files_are_sorted_and_leave_installed_packages_out(folder):
    names = [str(path.relative_to(folder)) for path in source_files(folder)]
    assert names == ["bad.py", "null.py", "pkg/good.py"]


def test_a_file_is_parsed_and_counted(folder):
    digest = hashlib.sha256(SOURCE.encode()).hexdigest()
    assert measure(folder / "pkg" / "good.py") == Figures(1, 1, 4, 3, 1, digest)


@pytest.mark.parametrize(("name", "lines"), [("bad.py", 1), ("null.py", 1)])
def test_a_file_that_is_not_python_has_figures_too(folder, name, lines):
    figures = measure(folder / name)
    assert (figures.files, figures.parsed, figures.lines) == (1, 0, lines)


@pytest.mark.parametrize(("text", "lines"), [("", 0), ("a = 1", 1), ("a = 1\n", 1), ("\n\n", 2)])
def test_a_last_line_counts_without_its_end(tmp_path, text, lines):
    (tmp_path / "f.py").write_text(text)
    assert measure(tmp_path / "f.py").lines == lines


def test_the_sum_does_not_depend_on_the_order_but_on_every_digest(folder):
    found = [measure(path) for path in source_files(folder)] * 7
    total = add_up(found)
    random.Random(1).shuffle(found)
    assert add_up(found) == total
    assert (total.files, total.parsed, total.functions) == (21, 7, 21)
    changed = [*found[:-1], Figures(*[*msg(found[-1])[:-1], "ab" * 32])]
    assert add_up(changed).digest != total.digest
    assert add_up([]) == NOTHING


def msg(figures):
    return [getattr(figures, name) for name in Figures.__struct_fields__]
