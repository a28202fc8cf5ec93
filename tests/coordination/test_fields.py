"""Hashes as monitoring tools see them, and as other versions write them."""

from __future__ import annotations

from mqtasks.coordination.fields import runner_from_hash, runner_to_hash, stats_from_hash
from tests.coordination.harness import beat


def test_a_runner_hash_is_readable():
    fields = runner_to_hash(
        beat("r1", executors=("a", "b"), labels={"y": "2", "x": "1"}, cpu=1.5, state="active")
    )
    assert fields["runner_id"] == "r1"
    assert fields["executors"] == b'["a","b"]'
    assert fields["labels"] == b'{"x":"1","y":"2"}'
    assert fields["cpu"] == 1.5
    assert fields["state"] == "active"


def test_versions_mix():
    fields = {b"runner_id": b"r1", b"generation": b"3", b"invented_later": b"?"}
    assert runner_from_hash(fields) == beat("r1", generation=3)


def test_what_something_else_wrote_is_no_runner():
    assert runner_from_hash({}) is None
    assert runner_from_hash({b"runner_id": b"r1", b"generation": b"many"}) is None
    assert runner_from_hash({b"runner_id": b"\xff", b"generation": b"1"}) is None
    assert runner_from_hash({b"runner_id": b"r", b"generation": b"1", b"labels": b"{"}) is None


def test_numbers_of_a_snapshot():
    stats = stats_from_hash({b"a": b"1", b"b": b"2.5", b"c": b"x1", b"d": b"-3", b"e": b""})
    assert stats == {"a": 1, "b": 2.5, "c": "x1", "d": -3, "e": ""}
    assert type(stats["a"]) is int
