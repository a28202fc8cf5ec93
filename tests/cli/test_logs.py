"""Log lines: ids, tracebacks, JSON, and no passwords."""

from __future__ import annotations

import json
import logging

import pytest

from mqtasks.cli import secrets
from mqtasks.cli.logs import JsonFormatter, TextFormatter
from mqtasks.cli.secrets import remember, scrub


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(secrets, "_known", set())


def record(message, *args, error=None, **ids):
    made = logging.LogRecord("mqtasks.worker", logging.WARNING, "f.py", 1, message, args, error)
    made.created = 1_700_000_000.123
    for name, value in ids.items():
        setattr(made, name, value)
    return made


def test_a_text_line_ends_with_the_ids():
    line = TextFormatter().format(record("lost %d", 3, task_id=7, epoch=2))
    assert line == "2023-11-14 22:13:20.123Z WARNING mqtasks.worker: lost 3 [task_id=7 epoch=2]"


def test_a_json_line_holds_ids_and_traceback():
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("mysql://u:hunter22@h/d")
    made = record("broken", error=(caught.type, caught.value, caught.tb), runner="r1")
    fields = json.loads(JsonFormatter().format(made))
    assert fields["time"] == "2023-11-14T22:13:20.123Z"
    assert (fields["level"], fields["logger"], fields["message"], fields["runner"]) == (
        "warning",
        "mqtasks.worker",
        "broken",
        "r1",
    )
    assert "ValueError" in fields["exception"]
    assert "hunter22" not in fields["exception"]


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_urls_lose_their_passwords(formatter):
    line = formatter.format(record("connecting to mysql://me:hunter22@host:3306/db?x=1 now"))
    assert "hunter22" not in line
    assert "mysql://me:***@host:3306/db?x=1 now" in line


def test_a_remembered_password_is_masked_wherever_it_appears():
    remember("mysql://me:p%40ss%2Fword@host/db", None, "sqlite:///file.db")
    assert scrub("login p@ss/word as p%40ss%2Fword refused") == "login *** as *** refused"


def test_text_without_secrets_is_untouched():
    text = "see https://example.org/a@b and file:///x:y@z, 50% done"
    assert scrub(text) == text
