"""Tables for people, JSON for programs."""

from __future__ import annotations

import io
import json

import pytest

from mqtasks.cli import output
from mqtasks.cli.output import cell, print_record, print_rows, time_text

ROWS = [
    {"task_id": 1, "id": "a", "created_at": 1_700_000_000_123, "error": "one\ntwo", "extra": 5},
    {"task_id": 22, "id": "grün [red]", "created_at": 0, "error": "", "extra": None},
]
COLUMNS = ("task_id", "id", "created_at", "error")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_json_is_one_document_with_every_field(capsys):
    print_rows(ROWS, COLUMNS, "json", "nothing")
    assert json.loads(capsys.readouterr().out) == ROWS


def test_jsonl_is_one_object_per_line(capsys):
    print_rows(ROWS, COLUMNS, "jsonl", "nothing")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == ROWS


@pytest.mark.parametrize(("kind", "out"), [("json", "[]\n"), ("jsonl", ""), ("table", "")])
def test_nothing_found_is_an_empty_answer(capsys, kind, out):
    print_rows([], COLUMNS, kind, "no such tasks")
    captured = capsys.readouterr()
    assert captured.out == out
    assert captured.err == ("no such tasks\n" if kind == "table" else "")


def test_a_table_that_is_not_on_a_terminal_is_plain_aligned_text(capsys):
    print_rows(ROWS, COLUMNS, "table", "nothing")
    assert capsys.readouterr().out.splitlines() == [
        "TASK ID  ID          CREATED AT                ERROR",
        "1        a           2023-11-14 22:13:20.123Z  one\\ntwo",
        "22       grün [red]  -                         -",
    ]


def test_a_terminal_gets_a_rich_table_and_ids_are_not_markup(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "100")
    print_rows(ROWS, COLUMNS, "table", "nothing")
    text = terminal.getvalue()
    assert "grün [red]" in text
    assert "─" in text


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_no_color_is_honoured(monkeypatch, no_color, coloured):
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm-256color")
    print_rows(ROWS, COLUMNS, "table", "nothing")
    assert (";36m" in terminal.getvalue()) is coloured


def test_a_record_shows_its_history_below(capsys):
    record = {"task_id": 7, "labels": {"gpu": "yes"}, "attempts": [{"epoch": 1, "ended_at": 0}]}
    print_record(record, "table")
    assert capsys.readouterr().out.splitlines() == [
        "task_id   7",
        "labels    gpu=yes",
        "attempts:",
        "  epoch=1  ended_at=-",
    ]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("alive", True, "yes"),
        ("paused", False, "no"),
        ("executors", ["a", 7], "a,7"),
        ("executors", [], "-"),
        ("labels", {}, "-"),
        ("epoch", 0, "0"),
        ("completed_at", 0, "-"),
        ("error", "a\tb", "a b"),
        ("outcome", None, "-"),
    ],
)
def test_cells(name, value, text):
    assert cell(name, value) == text


def test_times_are_utc():
    assert time_text(0) == "1970-01-01 00:00:00.000Z"


def test_formats_are_what_the_reference_documents():
    assert output.FORMATS == ("table", "json", "jsonl")


def test_texts_of_many_lines_within_a_record_stay_readable(capsys):
    trace = 'Traceback:\n  File "a.py", line 1\nOops'
    print_record(
        {"id": "a", "attempts": [{"epoch": 1, "error": "Oops", "traceback": trace}]}, "table"
    )
    assert capsys.readouterr().out.splitlines() == [
        "id        a",
        "attempts:",
        "  epoch=1  error=Oops",
        "    traceback:",
        "      Traceback:",
        '        File "a.py", line 1',
        "      Oops",
    ]
