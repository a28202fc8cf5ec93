"""Values as SQL text: hex literals, and trees that pick a value by key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtasks.storage.mysql.render import by_key, integers, literal

values = st.one_of(st.none(), st.integers(0, 3), st.binary(max_size=3))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-5, "-5"),
        (None, "NULL"),
        ("", "x''"),
        ("é'\\\0", "x'c3a9275c00'"),
        (b"\xff'", "x'ff27'"),
        (0.5, "0.5"),
    ],
)
def test_nothing_in_a_literal_needs_escaping(value, text):
    assert literal(value) == text


@pytest.mark.parametrize("value", [True, object(), [1], {"a": 1}])
def test_a_type_without_a_literal_is_refused(value):
    with pytest.raises(TypeError):
        literal(value)


def test_lists_take_integers_only():
    assert integers([3, 1, 2**63]) == f"3,1,{2**63}"
    with pytest.raises(TypeError):
        integers(["1); DROP TABLE mqtasks_task; --"])  # type: ignore[list-item]


@given(st.dictionaries(st.integers(0, 60), values, min_size=1))
def test_a_tree_gives_each_key_its_value(wanted):
    keys = sorted(wanted)
    text = by_key("task_id", keys, [wanted[key] for key in keys])
    for key in keys:
        assert evaluate(text, key) == wanted[key]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300, unique=True))
def test_a_tree_is_shallow(keys):
    text = by_key("task_id", sorted(keys), list(range(len(keys))))
    depth = deepest = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    assert deepest <= len(keys).bit_length()


def test_equal_values_are_written_once():
    assert by_key("task_id", [1, 2, 3], [b"a"] * 3) == "x'61'"
    assert by_key("task_id", [1, 2, 9, 10], [7, 7, 8, 8]) == "IF(task_id<9,7,8)"


def evaluate(text, key):
    """Return what the server would: the literal that the IFs lead to."""
    while text.startswith("IF("):
        condition, then, otherwise = arguments(text[3:-1])
        text = then if key < int(condition.removeprefix("task_id<")) else otherwise
    if text == "NULL":
        return None
    return bytes.fromhex(text[2:-1]) if text.startswith("x'") else int(text)


def arguments(text):
    """Split a call's arguments at the commas outside of parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts
