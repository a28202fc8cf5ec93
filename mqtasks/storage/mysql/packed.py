"""Task rows with their short columns packed into one.

The driver, being Python, spends its time per column: 24 of them cost 10 us a row on the hot path,
packed they cost 3. All integers come as one text, followed by the lengths of the short values and,
after a line break, those values themselves. Payloads stay columns of their own: a packed value must
not be larger than the server's max_allowed_packet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mqtasks.model import AsyncTask
from mqtasks.storage.sql.rows import TASK_NUMBERS, Row, task_from

# Options are a BLOB, and that is what packing them gives: bytes, whose lengths are those below.
_SHORT: Final = ("metadata_id", "executor", "parent_task_id", "options", "runner")
_NUMBERS: Final = (*TASK_NUMBERS, *(f"LENGTH({column})" for column in _SHORT[:-1]))
PACKED_COLUMNS: Final = (
    f"CONCAT(CONCAT_WS(' ', {', '.join(_NUMBERS)}), '\n', {', '.join(_SHORT)}),"
    " context, error, result, progress"
)
"""What `unpack_tasks` reads."""


def unpack_tasks(rows: Sequence[Row]) -> list[AsyncTask]:
    """Return the records of rows of PACKED_COLUMNS."""
    tasks: list[AsyncTask] = []
    for packed, context, error, value, progress in rows:
        head, _, short = packed.partition(b"\n")
        *numbers, first, second, third, fourth = map(int, head.split(b" "))
        second += first
        third += second
        fourth += third
        tasks.append(
            task_from(
                numbers,
                short[:first].decode(),
                short[first:second].decode(),
                context,
                short[third:fourth],
                short[second:third].decode(),
                short[fourth:].decode(),
                error,
                value,
                progress,
            )
        )
    return tasks
