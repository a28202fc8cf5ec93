"""What to run, as typed on the command line."""

from __future__ import annotations

import io
import sys
import types

import pytest

from mqtasks.cli.targets import executor_argument, json_arguments, payload_argument
from mqtasks.errors import InvalidArgument


def test_arguments_are_json_or_named_json():
    assert json_arguments(['"cat.jpg"', "3", "width=320", 'note="a=b"', "[1,null]"]) == (
        ["cat.jpg", 3, [1, None]],
        {"width": 320, "note": "a=b"},
    )


@pytest.mark.parametrize("text", ["cat.jpg", "width=big", "{'a': 1}", ""])
def test_what_is_not_json_is_refused_with_the_quoted_form(text):
    with pytest.raises(InvalidArgument, match="is not JSON; if it is meant as text, write '\""):
        json_arguments([text])


@pytest.mark.parametrize(("text", "code"), [("7", 7), ("0012", 12), ("resize", "resize")])
def test_digits_are_the_number_of_an_executor(text, code):
    assert executor_argument(text) == code


@pytest.mark.parametrize("text", ["-1", "4294967296", "", "x" * 256])
def test_impossible_executor_codes_are_refused(text):
    with pytest.raises(InvalidArgument, match="executor="):
        executor_argument(text)


def test_a_payload_is_text_a_file_or_stdin(tmp_path, monkeypatch):
    (tmp_path / "p.bin").write_bytes(b"\x00\xff")
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(b"from stdin")))
    assert payload_argument("grün") == "grün".encode()
    assert payload_argument(f"@{tmp_path}/p.bin") == b"\x00\xff"
    assert payload_argument("-") == b"from stdin"


def test_a_payload_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InvalidArgument, match="No such file"):
        payload_argument(f"@{tmp_path}/missing")
