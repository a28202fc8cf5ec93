"""Options are checked together, and reach child processes whole."""

from __future__ import annotations

import logging

import msgspec
import pytest

from mqtasks.config import Settings
from mqtasks.errors import (
    ConfigError,
    CoordinationUnavailable,
    InvalidArgument,
    MQTasksError,
    RunnerConflict,
    SchemaMismatch,
    StorageConflict,
    StorageUnavailable,
)
from mqtasks.worker import RunnerOptions
from mqtasks.worker.messages import Broken, settings_from_dict, settings_to_dict


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"parallelism": 0}, "parallelism"),
        ({"parallelism": True}, "parallelism"),
        ({"parallelism": 2.5}, "parallelism"),
        ({"parallelism": 10**6}, "parallelism"),
        ({"max_wait_tasks": -1}, "max_wait_tasks"),
        ({"fetch_limit": 0}, "fetch_limit"),
        ({"fetch_interval": 0}, "fetch_interval"),
        ({"fetch_interval": float("nan")}, "fetch_interval"),
        ({"fetch_timeout": float("inf")}, "fetch_timeout"),
        ({"retry_interval": "1"}, "retry_interval"),
        ({"shutdown_timeout": -1}, "shutdown_timeout"),
        ({"heartbeat_timeout": 8.9}, "heartbeat_timeout"),
        ({"safety_interval": 0.5}, "safety_interval"),
        ({"max_crashes": -1}, "max_crashes"),
        ({"cpu": -0.5}, "cpu"),
        ({"memory": 1.5}, "memory"),
        ({"resources": {"gpu": 0}}, "resources['gpu']"),
        ({"resources": {"gpu": "2"}}, "resources['gpu']"),
        ({"resources": {"": 1}}, "resources"),
        ({"labels": {"": "x"}}, "labels"),
        ({"labels": {"a": 1}}, "labels['a']"),
        ({"heartbeat": "fork"}, "heartbeat"),
        ({"on_conflict": "ignore"}, "on_conflict"),
    ],
)
def test_a_bad_option_is_named_with_its_value_and_remedy(options, field):
    with pytest.raises(InvalidArgument) as caught:
        RunnerOptions(**options)
    assert caught.value.field == field
    assert caught.value.remedy


def test_the_lease_is_renewed_in_time_whatever_its_length():
    for interval, timeout in ((3.0, 15.0), (1.0, 3.0), (0.3, 1.5)):
        options = RunnerOptions(heartbeat_interval=interval, heartbeat_timeout=timeout)
        trusted_for = timeout - 2 * interval
        assert 0 < options.renewal_interval <= min(interval, trusted_for / 2)


def test_options_travel_as_json():
    options = RunnerOptions(
        labels={"gpu": "a100"}, parallelism=7, memory=2**40, logger=logging.getLogger("x")
    )
    sent = msgspec.json.decode(msgspec.json.encode(options.to_dict()))
    received = RunnerOptions.from_dict(sent)
    assert received.to_dict() == options.to_dict()
    assert received.logger is None
    assert dict(received.labels) == {"gpu": "a100"}


def test_unknown_options_are_refused():
    with pytest.raises(InvalidArgument, match="parralelism"):
        RunnerOptions.from_dict({"parralelism": 3})


def test_options_come_from_settings_and_changes():
    settings = Settings(parallelism=9, heartbeat_timeout=30, labels={"a": "b"})
    options = RunnerOptions.from_settings(settings, cancel_timeout=1.0)
    assert (options.parallelism, options.heartbeat_timeout) == (9, 30.0)
    assert (options.cancel_timeout, dict(options.labels)) == (1.0, {"a": "b"})


def test_settings_travel_as_json():
    settings = Settings(url="mysql://u:secret@h/d", labels={"a": "b"}, hint_key="k")
    sent = msgspec.json.decode(msgspec.json.encode(settings_to_dict(settings)))
    received = settings_from_dict(sent)
    assert settings_to_dict(received) == settings_to_dict(settings)
    assert received.origins == settings.origins


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidArgument("a", 1, "b"), ConfigError),
        (StorageUnavailable("away"), StorageUnavailable),
        (KeyError("x"), MQTasksError),
    ],
)
def test_errors_keep_their_kind_between_processes(error, kind):
    again = Broken.of(error).error()
    assert type(again) is kind
    assert str(error) in str(again)


@pytest.mark.parametrize(
    ("error", "lasting"),
    [
        (ConfigError("wrong"), True),
        (SchemaMismatch("old"), True),
        (InvalidArgument("a", 1, "b"), True),
        (TypeError("ours"), True),
        (ImportError("theirs"), True),
        (StorageUnavailable("away"), False),
        (StorageConflict("locked"), False),
        (CoordinationUnavailable("away"), False),
        (RunnerConflict("w", "leased"), False),
        (ConnectionRefusedError("away"), False),
        (MemoryError(), False),
    ],
)
def test_only_what_may_pass_is_worth_another_try(error, lasting):
    assert Broken.of(error).lasting is lasting
