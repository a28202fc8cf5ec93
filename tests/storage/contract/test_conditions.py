"""Conditions select the same rows in every storage as their predicate does (property)."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mqtasks.conditions import FIELDS, Op, Selection, where
from mqtasks.model import ExecuteResult, ResultCode, TaskStatus
from tests.support.stage import row

# Few values, so that comparisons hit; odd ones, so that collations and number formats show.
IDS = ["a", "A", "á", "a ", "b", "\0", "a\0", "😀", "ﬀ", "%", "a_", "\\", "'", '"', "10", "9"]
WORDS = st.sampled_from(IDS)
EXECUTORS = st.sampled_from([0, 2, 9, 10, 2**32 - 1, "a", "A", "b ", "é", "2x"])
SMALL = st.integers(0, 3)
TIMES = st.sampled_from([1, 2, 10, 1_700_000_000_000, 2**53 + 1, 2**62])

ROWS = st.lists(
    st.builds(
        row,
        WORDS,
        EXECUTORS,
        parent_task_id=st.just("") | WORDS,
        status=st.sampled_from(TaskStatus),
        runner=st.just("") | WORDS,
        epoch=SMALL,
        attempt=SMALL,
        crashes=SMALL,
        run_at=TIMES,
        last_heartbeat=TIMES,
        created_at=TIMES,
        completed_at=TIMES,
        execute_result=st.none() | st.builds(ExecuteResult, st.sampled_from(ResultCode)),
    ),
    max_size=8,
)
NUMBERS = SMALL | TIMES | st.sampled_from([2**63, 2**64 - 1])
TEXT = st.just("") | WORDS
VALUES = {
    "status": st.sampled_from(TaskStatus),
    "result_code": st.sampled_from(ResultCode),
    "metadata_id": TEXT,
    "parent_task_id": TEXT,
    "runner": TEXT,
    "executor": EXECUTORS,
}
COMPARISONS = st.sampled_from(sorted(FIELDS)).flatmap(
    lambda name: st.one_of(
        st.builds(
            getattr(where, name).compare,
            st.sampled_from([item for item in Op if item is not Op.IN]),
            VALUES.get(name, NUMBERS),
        ),
        st.builds(getattr(where, name).in_, st.lists(VALUES.get(name, NUMBERS), max_size=4)),
    )
)
CONDITIONS = st.lists(COMPARISONS, max_size=3).flatmap(
    lambda some: st.lists(
        st.builds(where.limit, st.integers(0, 4))
        | st.builds(where.task_id_desc)
        | st.builds(where.everything),
        max_size=2,
    ).map(lambda more: [*some, *more])
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=ROWS, groups=st.lists(CONDITIONS, min_size=1, max_size=8))
def test_a_query_answers_what_the_predicate_selects(storage, rows, groups):
    storage.delete(where.everything())
    storage.add(*rows)
    stored = storage.query(where.everything())
    assert len(stored) == len({item.metadata.id for item in rows})
    # Ids differ between runs and storages; name some that exist.
    some = [item.id for item in stored[::2]]
    for conditions in [*groups, [where.task_id.in_(some)], [where.task_id >= sum(some[:1])]]:
        assert storage.query(*conditions) == Selection(conditions).apply(stored)


@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=ROWS, conditions=CONDITIONS)
def test_a_delete_takes_what_the_predicate_selects(storage, rows, conditions):
    storage.delete(where.everything())
    storage.add(*rows)
    stored = storage.query()
    conditions = [*conditions, where.everything()]
    victims = Selection(conditions).apply(stored)
    assert storage.delete(*conditions) == len(victims)
    assert storage.query() == [item for item in stored if item not in victims]
