"""The ordered sets below the memory storage behave like a sorted list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mqtasks.storage.memory.ordered import Ordered

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 150)), max_size=400)


@given(STEPS, st.integers(-1, 151), st.integers(0, 20))
def test_keys_stay_in_order_whatever_is_added_and_removed(steps, key, limit):
    keys: Ordered[int] = Ordered()
    model: set[int] = set()
    for adds, item in steps:
        if adds and item not in model:
            keys.add(item)
            model.add(item)
        elif not adds and item in model:
            keys.remove(item)
            model.remove(item)
            assert keys.first() == min(model, default=None)
    wanted = sorted(model)
    assert len(keys) == len(wanted)
    assert list(keys) == wanted
    assert list(reversed(keys)) == wanted[::-1]
    assert keys.take(limit) == wanted[:limit]
    assert keys.since(key, limit) == [item for item in wanted if item >= key][:limit]
    assert keys.first() == (wanted[0] if wanted else None)


def test_a_queue_that_is_emptied_from_the_front_forgets_its_keys():
    keys: Ordered[int] = Ordered()
    for item in range(10_000):
        keys.add(item)
    for item in range(10_000):
        assert keys.first() == item
        keys.remove(item)
    assert keys.first() is None
    assert (keys._keys, keys._gone) == ([], set())
