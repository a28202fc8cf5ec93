"""Creating plans in SQL: all tasks of one, or none.

The INSERT itself is the check: it fails if any id is stored, also one of a producer who has just
committed, and has then written nothing. So there is no moment between looking and writing, and no
lock on ids that nobody has, in which unrelated plans would block each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mqtasks.errors import InvalidArgument, StorageConflict
from mqtasks.model import Created, NewTask
from mqtasks.storage.plans import stored_plan
from mqtasks.storage.sql.dialect import DuplicateKey, Session
from mqtasks.storage.sql.linking import Links
from mqtasks.storage.sql.queries import Template

_ROUNDS: Final = 8
"""Times a plan may meet ids that are gone a moment later."""
_SET: Final = Template("SAVEPOINT mqtasks_plan")
_UNDO: Final = Template("ROLLBACK TO SAVEPOINT mqtasks_plan")
_FORGET: Final = Template("RELEASE SAVEPOINT mqtasks_plan")


def create_plan(session: Session, ordered: Sequence[NewTask]) -> dict[str, Created] | None:
    """Create a plan, unique by metadata id, unless it is stored; return the answer for each id.

    Inside a transaction. None: a part of it is stored and the rest is to be made, as `stored_plan`
    says of children; nothing was written. Raises InvalidArgument as that does.
    """
    for _ in range(_ROUNDS):
        try:
            links = Links(session, ordered)
        except InvalidArgument:
            # A parent may be gone, since those that waited for it have ended.
            answers, _ = _look(session, ordered)
            if answers is None:
                raise
            return answers
        try:
            made = _insert(session, ordered)
        except DuplicateKey:
            answers, seen = _look(session, ordered)
            if answers is not None:
                return answers
            if seen:
                return None
        else:
            links.write(made)
            return made
    raise StorageConflict(
        f"plan {ordered[0].plan!r} could not be created: others create and delete the same ids at"
        " the same time; try again"
    )


def _look(session: Session, ordered: Sequence[NewTask]) -> tuple[dict[str, Created] | None, bool]:
    """Return the answers if the plan is stored, and whether any of it is."""
    names = [task.metadata.id for task in ordered]
    known: dict[str, int] = dict(session.rows_in("known_ids", names))
    return stored_plan(ordered, known), bool(known)


def _insert(session: Session, ordered: Sequence[NewTask]) -> dict[str, Created]:
    """Insert all, or nothing and raise DuplicateKey."""
    made: dict[str, Created] = {}
    start, end = 0, session.insert_batch(ordered, 0)
    several = end < len(ordered)
    if several:
        session.run(_SET)
    try:
        while start < len(ordered):
            chunk = ordered[start:end]
            for task, task_id in zip(chunk, session.insert_tasks(chunk), strict=True):
                made[task.metadata.id] = Created(task_id, is_new=True)
            start = end
            end = session.insert_batch(ordered, start) if start < len(ordered) else start
    except DuplicateKey:
        if several:
            # The transaction may be a caller's, who goes on with it.
            session.run(_UNDO)
        raise
    if several:
        session.run(_FORGET)
    return made
