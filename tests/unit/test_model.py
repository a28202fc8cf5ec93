"""Records check what they are given, and their stored forms can be read back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mqtasks.errors import InvalidArgument
from mqtasks.model import (
    DEFAULT_OPTIONS,
    FINAL,
    LIVE,
    TRANSITIONS,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
    checked_id,
    executor_code,
    executor_value,
    firing_id,
    hash_signature,
    lane_of,
    options_from_bytes,
    options_to_bytes,
    signature_of,
)
from mqtasks.model.task import checked_executor

NUMBERS = st.floats(0, 1e6)
LABELS = st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=3)
OPTIONS = st.builds(
    TaskOptions,
    max_retry_times=st.integers(0, 2**53),
    retry_interval=NUMBERS,
    backoff_factor=st.floats(1, 10),
    backoff_max=NUMBERS,
    jitter=st.floats(0, 1),
    delay_duration=NUMBERS,
    concurrency=st.integers(0, 2**53),
    labels=LABELS,
    cpu=NUMBERS,
    memory=st.integers(0, 2**53),
    timeout=NUMBERS,
    priority=st.integers(-(2**31) + 1, 2**31 - 1),
    max_reassign_times=st.integers(0, 2**53),
    retention=st.none() | NUMBERS,
    tags=st.lists(st.text(max_size=5), max_size=3).map(tuple),
)


@given(OPTIONS)
def test_valid_options_come_back_as_they_were(options):
    options.validate()
    assert options_from_bytes(options_to_bytes(options)) == options


def test_default_options_are_stored_as_nothing():
    assert options_to_bytes(DEFAULT_OPTIONS) == b""
    assert options_to_bytes(TaskOptions()) == b""
    assert options_from_bytes(b"") is DEFAULT_OPTIONS


@given(OPTIONS, st.randoms())
def test_equal_options_have_one_stored_form(options, random):
    keys = list(options.labels)
    random.shuffle(keys)
    twin = replace(options, labels={key: options.labels[key] for key in keys})
    assert options_to_bytes(twin) == options_to_bytes(options)
    assert lane_of(TaskMetadata("a", "x", options=twin)) == lane_of(
        TaskMetadata("b", "x", b"other", options)
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, -1) for name in ("max_retry_times", "concurrency", "memory", "cpu")),
        *((name, math.nan) for name in ("retry_interval", "jitter", "timeout", "cpu")),
        *((name, math.inf) for name in ("backoff_max", "delay_duration", "retention", "cpu")),
        ("backoff_factor", 0.99),
        ("jitter", 1.01),
        ("priority", 2**31),
        ("priority", -(2**31)),
        ("retention", -1),
        ("retention", "x"),
        ("memory", 2**53 + 1),
        ("max_retry_times", 1.5),
        ("concurrency", True),
        ("priority", "high"),
        ("timeout", "5"),
        ("timeout", None),
        ("labels", {"": "x"}),
        ("labels", {"x" * 256: "x"}),
        ("labels", {"x": "x" * 256}),
        ("labels", {"x": 1}),
        ("labels", {1: "x"}),
        ("labels", ["x"]),
        ("tags", (1,)),
        ("tags", "abc"),
        ("tags", ("\ud800",)),
    ],
)
def test_options_out_of_range_are_refused_by_name(field, value):
    """Above all what could be stored and then not be read back again."""
    with pytest.raises(InvalidArgument, match=rf"options\.{field}=") as raised:
        TaskOptions(**{field: value}).validate()
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("field", "metadata"),
    [
        ("metadata.id", TaskMetadata("", "x")),
        ("metadata.id", TaskMetadata("é" * 128, "x")),
        ("metadata.id", TaskMetadata("\udfff", "x")),
        ("metadata.id", TaskMetadata(5, "x")),  # type: ignore[arg-type]
        ("executor", TaskMetadata("t", "")),
        ("executor", TaskMetadata("t", "12")),
        ("executor", TaskMetadata("t", -1)),
        ("executor", TaskMetadata("t", 2**32)),
        ("executor", TaskMetadata("t", True)),
        ("metadata.context", TaskMetadata("t", "x", "text")),  # type: ignore[arg-type]
        ("options.jitter", TaskMetadata("t", "x", options=TaskOptions(jitter=2))),
    ],
)
def test_metadata_that_no_storage_takes_is_refused_by_name(field, metadata):
    with pytest.raises(InvalidArgument) as raised:
        metadata.validate()
    assert raised.value.field == field


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_executor_numbers_are_ordered_like_their_stored_forms(first, second):
    assert (first < second) == (executor_code(first) < executor_code(second))
    assert executor_value(executor_code(first)) == first


@given(st.text(min_size=1, max_size=20).filter(lambda text: not text.isdigit()))
def test_executor_names_are_stored_as_they_are(name):
    assert executor_code(name) == name
    assert executor_value(name) == name


@pytest.mark.parametrize("name", ["größe 大", "a\xa0b", "a\u200bb"])
def test_executor_names_are_any_text_but_control_characters(name):
    assert checked_executor(name) == name
    with pytest.raises(InvalidArgument, match="must not contain control characters"):
        checked_executor(f"{name}\n")


def test_digits_of_other_scripts_are_names():
    assert executor_value(executor_code("٠١٢٣٤٥٦٧٨٩")) == "٠١٢٣٤٥٦٧٨٩"


def test_ids_may_be_empty_only_where_that_is_said():
    assert checked_id("x", "", empty=True) == ""
    with pytest.raises(InvalidArgument, match="empty"):
        checked_id("x", "")


def test_what_decides_the_placement_decides_the_lane():
    base = TaskMetadata("t", "x", options=TaskOptions(timeout=5))
    same = TaskMetadata("u", "x", b"y", TaskOptions(retention=1, tags=("a",)))
    assert lane_of(base) == lane_of(same) == lane_of(TaskMetadata("v", "x"))
    others = [
        TaskMetadata("t", "y"),
        TaskMetadata("t", 5),
        TaskMetadata("t", "x", options=TaskOptions(concurrency=1)),
        TaskMetadata("t", "x", options=TaskOptions(labels={"a": "b"})),
        TaskMetadata("t", "x", options=TaskOptions(labels={"b": "a"})),
        TaskMetadata("t", "x", options=TaskOptions(cpu=1)),
        TaskMetadata("t", "x", options=TaskOptions(memory=1)),
        TaskMetadata("t", "x", options=TaskOptions(priority=3)),
    ]
    lanes = {lane_of(item) for item in others}
    assert len(lanes) == len(others)
    assert lane_of(base) not in lanes
    for item in others:
        assert lane_of(item) == hash_signature(signature_of(item))
        assert 0 < lane_of(item) < 2**63


def test_lanes_are_the_same_in_every_process_and_version():
    """Rows keep their lanes in storage: another hash would strand them."""
    assert lane_of(TaskMetadata("t", "work")) == 923510679550031
    assert lane_of(TaskMetadata("t", 7, options=TaskOptions(labels={"a": "b"}))) == 760912210191604


def test_firings_are_numbered():
    assert firing_id("nightly", 12) == "nightly:12"


def test_states_end_and_live_where_the_table_says():
    assert set(TRANSITIONS) == set(TaskStatus)
    assert {status for status in TaskStatus if status.is_final} == set(FINAL)
    assert {status for status in TaskStatus if status.is_live} == set(LIVE)
    for status in FINAL:  # only an operator's requeue leaves an ended state
        assert TRANSITIONS[status] == {TaskStatus.CREATED}
    for status in TaskStatus:  # whatever runs was waiting before; what was asked to stop, stops
        assert (TaskStatus.RUNNING in TRANSITIONS[status]) == (
            status in {TaskStatus.CREATED, TaskStatus.RUNNING}
        )
    assert TRANSITIONS[TaskStatus.CANCEL_REQUESTED] == {TaskStatus.CANCELED}
