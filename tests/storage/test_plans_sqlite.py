"""Query plans on SQLite: hot statements search an index, and sort nothing."""

from __future__ import annotations

import pytest

from mqtasks.storage.sql.queries import Template
from mqtasks.storage.sqlite import SQLiteTaskStorage
from mqtasks.storage.sqlite.session import _by_row

BY_INDEX = {
    "due", "promote", "next_due", "lanes", "lane_tasks", "live_load", "created_sample",
    "live_ids", "live_samples", "signatures", "owned", "outcomes", "unstarted",
    "cancel_requested", "load", "find", "known_ids", "lock_tasks", "lock_live",
    "owning_runners", "due_cron", "next_cron", "find_cron", "firing", "firings",
    "manual_firings", "fired_tasks", "prune_firings", "prune_chunk", "count_status", "delete_tasks",
    "delete_attempts", "release", "requeue", "leader", "lock_runners", "attempts",
    "open_parents", "open_edges", "lock_parents", "lock_linked", "open_counts", "drop_edges",
    "children", "needed_parents", "delete_edges", "unended", "judged_edges", "settle_edges",
}  # fmt: skip
BY_ROW = {
    "allocate": ("task_id", "epoch", "runner", "generation"),
    "complete": ("task_id", "epoch", "result", "elapsed"),
    "complete_failed": ("task_id", "error", "result", "elapsed", "crashed"),
    "retry": ("task_id", "delay", "counted", "crashed"),
    "heartbeat": ("task_id", "epoch"),
    "mark_started": ("task_id", "epoch"),
    "rescue": ("task_id", "crashed"),
    "record_attempts": ("task_id", "outcome", "elapsed", "error", "traceback"),
    "advance_crons": ("cron_id", "next_time", "times"),
    "release_waiting": ("task_id", "run_at"),
    "schedule_waiting": ("task_id", "run_at"),
    "fail_waiting": ("task_id", "error"),
}
LISTS = " AND child_id IN (1, 2) AND parent_id + 0 IN (3, 4)"
GOES_ON = {"judged_edges": LISTS, "settle_edges": LISTS}
COVERING = {"due", "next_due", "lanes", "live_load", "live_ids", "owning_runners"}


@pytest.fixture
def plan(tmp_path):
    """A function that returns the steps of the plan of a named statement."""
    with SQLiteTaskStorage(tmp_path / "tasks.db") as storage:

        def explained(sql):
            marks = (1,) * sql.count("?")
            steps = storage.database.read(
                lambda session: session.rows(Template(f"EXPLAIN QUERY PLAN {sql}"), *marks)
            )
            return [step[3] for step in steps]

        def named(name):
            queries = storage.database.read(lambda session: session.queries)
            if name in BY_ROW:
                return explained(_by_row(queries[name], BY_ROW[name], 1)[0])
            text = queries[name].text + GOES_ON.get(name, "")
            return explained(text.replace("{now}", "?").replace("{in}", "1, 2, 3"))

        yield named


@pytest.mark.parametrize("name", sorted(BY_INDEX | BY_ROW.keys()))
def test_hot_statements_search(name, plan):
    steps = plan(name)
    looks = [step for step in steps if step.startswith(("SEARCH", "SCAN"))]
    assert looks, steps
    # What is scanned is at most the intermediate result of seeks, or a subquery's few rows.
    assert [step for step in looks if step.startswith("SCAN mqtasks")] == [], steps
    assert [step for step in steps if "TEMP B-TREE" in step and "ORDER BY" in step] == [], steps


@pytest.mark.parametrize("name", ["open_parents", "open_edges"])
def test_s12_who_is_waited_for_is_read_from_an_index_alone(name, plan):
    (look,) = plan(name)
    assert "COVERING INDEX mqtasks_dependency_open" in look


@pytest.mark.parametrize("name", ["judged_edges", "settle_edges", "open_counts", "drop_edges"])
def test_s12_links_of_children_are_found_by_the_child(name, plan):
    (look,) = plan(name)
    assert "USING PRIMARY KEY (child_id=?)" in look


@pytest.mark.parametrize("name", sorted(COVERING))
def test_what_the_index_holds_is_read_from_it(name, plan):
    looks = [step for step in plan(name) if step.startswith("SEARCH mqtasks_task")]
    assert looks
    assert all("COVERING INDEX mqtasks_task_queue" in step for step in looks), looks
