"""Creating tasks: optimistic, one INSERT per chunk (G1, G2).

The batch is inserted as if every id were new. If one is not, the statement has written nothing;
then the known ids are looked up and the rest is inserted. Rows are numbered in the order given,
because lanes are first in, first out; two producers of the same ids in different orders may meet
in a deadlock, and the one that is rolled back then finds the other's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from mqtasks.errors import StorageConflict
from mqtasks.model import DEFAULT_OPTIONS, MAX_ID_BYTES, Created, NewTask, executor_code
from mqtasks.storage.checks import check_new
from mqtasks.storage.links import is_linked
from mqtasks.storage.plans import is_plan
from mqtasks.storage.sql.base import SqlBase, when_disabled
from mqtasks.storage.sql.deadlines import note_deadlines_of
from mqtasks.storage.sql.dialect import DuplicateKey, Session
from mqtasks.storage.sql.linking import Links
from mqtasks.storage.sql.plans import create_plan
from mqtasks.storage.sql.windows import keep_windows, take_windows, told_of_windows
from mqtasks.storage.windows import Windows, windowed

_ROUNDS: Final = 8
"""Times a batch may meet ids that were not there a moment ago."""

T = TypeVar("T")


class SqlCreate(SqlBase):
    """See `TaskRecords.create_tasks`."""

    @when_disabled(list[Created])
    def create_tasks(self, tasks: Sequence[NewTask]) -> list[Created]:
        """Create tasks, idempotent by metadata id; answer in the order given."""
        if not tasks:
            return []
        special = check_all(tasks)
        if special:
            self._note_retentions(task.metadata.options for task in special)
            note_deadlines_of(self._db, special)
        if special and (keyed := windowed(special)):
            with told_of_windows(keyed):
                return self._db.transact(lambda session: create_windowed(session, tasks))
        create = maker_of(special)
        if create is not create_in:
            ordered = first_of_each(tasks)
            made = self._db.transact(lambda session: create(session, ordered))
            return answers(tasks, made)
        if len(tasks) == 1:
            return [self._db.single(lambda session: _create_one(session, tasks))]
        ordered = first_of_each(tasks)

        def in_one(session: Session) -> dict[str, Created] | None:
            fits = session.insert_batch(ordered, 0) == len(ordered)
            return create_in(session, ordered) if fits else None

        at_once = self._db.single(in_one)
        if at_once is None:
            at_once = self._db.transact(lambda session: create_in(session, ordered))
        return answers(tasks, at_once)


def first_of_each(tasks: Sequence[NewTask]) -> list[NewTask]:
    """Return the first task of each metadata id, in the order given."""
    unique = {task.metadata.id: task for task in tasks}
    if len(unique) < len(tasks):
        # The first of each id is created; assigning again does not move a key.
        unique.update((task.metadata.id, task) for task in reversed(tasks))
    return list(unique.values())


def answers(tasks: Sequence[NewTask], made: dict[str, Created]) -> list[Created]:
    """Return the answer for each task; only the first of an id can be new."""
    found: list[Created] = []
    for task in tasks:
        answer = made[task.metadata.id]
        found.append(answer)
        if answer.is_new:
            # The same id again in this batch names the row that this one has just made.
            made[task.metadata.id] = Created(answer.task_id, is_new=False)
    return found


def _create_one(session: Session, tasks: Sequence[NewTask]) -> Created:
    """Create one task: a producer's lone enqueue takes no detour."""
    try:
        return Created(session.insert_tasks(tasks)[0], is_new=True)
    except DuplicateKey:
        known = session.rows_in("known_ids", [tasks[0].metadata.id])
        if known:
            return Created(known[0][1], is_new=False)
        return create_in(session, tasks)[tasks[0].metadata.id]  # deleted between the two


def create_in(session: Session, ordered: Sequence[NewTask]) -> dict[str, Created]:
    """Create valid tasks, unique by metadata id; return the answer for each id."""
    made: dict[str, Created] = {}

    def insert(pending: Sequence[NewTask], start: int) -> int:
        end = session.insert_batch(pending, start)
        chunk = pending[start:end] if start or end < len(pending) else pending
        for task, task_id in zip(chunk, session.insert_tasks(chunk), strict=True):
            made[task.metadata.id] = Created(task_id, is_new=True)
        return end

    known = insert_missing(session, ordered, lambda task: task.metadata.id, insert)
    for metadata_id, task_id in known.items():
        made[metadata_id] = Created(task_id, is_new=False)
    return made


def create_linked(session: Session, ordered: Sequence[NewTask]) -> dict[str, Created]:
    """As `create_in`, for a batch in which tasks wait for others."""
    links = Links(session, ordered)
    made = create_in(session, ordered)
    links.write(made)
    return made


def create_planned(session: Session, ordered: Sequence[NewTask]) -> dict[str, Created]:
    """As `create_linked`, for a plan."""
    made = create_plan(session, ordered) if is_plan(ordered) else None
    return create_linked(session, ordered) if made is None else made


def maker_of(
    special: Sequence[NewTask],
) -> Callable[[Session, Sequence[NewTask]], dict[str, Created]]:
    """Return what creates a batch; ``special`` are those of its tasks that are not plain."""
    if any(task.plan for task in special):
        return create_planned
    return create_linked if any(map(is_linked, special)) else create_in


def create_windowed(session: Session, tasks: Sequence[NewTask]) -> list[Created]:
    """Create the tasks of a batch whose windows are not open; answer in the order given."""
    windows = Windows(tasks, take_windows(session, tasks))
    chosen = windows.chosen
    created = answers(chosen, maker_of(chosen)(session, first_of_each(chosen)))
    keep_windows(session, windows.taken(created))
    return windows.answers(created)


def insert_missing(
    session: Session,
    pending: Sequence[T],
    key: Callable[[T], str],
    insert: Callable[[Sequence[T], int], int],
) -> dict[str, int]:
    """Insert what is not stored yet; return the task ids of what was stored before.

    ``insert(pending, start)`` inserts one chunk and returns where the next one starts.
    """
    known: dict[str, int] = {}
    start = 0
    for _ in range(_ROUNDS):
        try:
            while start < len(pending):
                start = insert(pending, start)
            return known
        except DuplicateKey:
            pending = pending[start:]
            start = 0
            known.update(session.rows_in("known_ids", [key(item) for item in pending]))
            pending = [item for item in pending if key(item) not in known]
    raise StorageConflict(
        f"{len(pending)} tasks could not be inserted: others create and delete the same ids at the"
        " same time; try again"
    )


_good_executors: set[int | str] = set()
_GOOD_EXECUTORS_LIMIT: Final = 4096


def check_all(tasks: Iterable[NewTask]) -> list[NewTask]:
    """Raise InvalidArgument for the first field that storage would not take.

    The plainest tasks, which are nearly all, are recognised without a call per field; the others
    are returned.
    """
    good = _good_executors
    special: list[NewTask] = []
    for task in tasks:
        metadata = task.metadata
        if (
            metadata.options is DEFAULT_OPTIONS
            and type(metadata.context) is bytes
            and not task.run_at
            and not task.parent_task_id
            and not task.after
            and not task.child_of
            and not task.unique_key
            and not task.plan
            and type(metadata.id) is str
            and metadata.id.isascii()
            and 0 < len(metadata.id) <= MAX_ID_BYTES
            and type(metadata.executor) is str
            and metadata.executor in good
        ):
            continue
        check_new(task)
        special.append(task)
        if len(good) < _GOOD_EXECUTORS_LIMIT and isinstance(metadata.executor, str):
            good.add(executor_code(metadata.executor))
    return special
