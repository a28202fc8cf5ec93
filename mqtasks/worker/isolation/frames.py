"""What a runner and its children say to each other: one msgpack array a frame, in a socket pair."""

from __future__ import annotations

import struct
from typing import Any, Final, TypeAlias

import msgspec

from mqtasks.model import AsyncTask, Progress, TaskEpoch
from mqtasks.worker.outcome import Failed

# -- runner to child -----------------------------------------------------------------------------


class Prepare(msgspec.Struct, tag=1, array_like=True, frozen=True):
    """Import, and become ready for tasks."""

    app: str
    """``MODULE:APP``; empty: each executor's module is imported instead."""
    modules: tuple[str, ...]
    path: tuple[str, ...]
    """Where modules are looked for: ``sys.path``."""
    settings: dict[str, Any] | None
    """See `settings_to_dict`; None: the tasks are in the runner's memory."""
    runner_id: str
    logger: str
    max_result_bytes: int


class Run(msgspec.Struct, tag=2, array_like=True, frozen=True):
    """Execute a task. Times are seconds of `Clock.monotonic`, which all processes share."""

    task: AsyncTask
    module: str
    name: str
    started: float
    deadline: float
    expires: float
    memory: int
    """Bytes of data that the process may have meanwhile; 0 = any number."""


class GiveUp(msgspec.Struct, tag=3, array_like=True, frozen=True):
    """Cancel the task that runs."""

    reason: str


class Noted(msgspec.Struct, tag=4, array_like=True, frozen=True):
    """Answer to `Completing`."""


# -- child to runner -----------------------------------------------------------------------------


class Ready(msgspec.Struct, tag=11, array_like=True, frozen=True):
    """All is imported."""


class Unfit(msgspec.Struct, tag=12, array_like=True, frozen=True):
    """What was to be imported could not be; the process ends."""

    error: str
    traceback: str


class Started(msgspec.Struct, tag=13, array_like=True, frozen=True):
    """The task is handed to its executor now: from here on its death is its own."""


class Reported(msgspec.Struct, tag=14, array_like=True, frozen=True):
    """Progress of an execution."""

    execution: TaskEpoch
    """Threads that a task leaves behind may speak of it when the next one runs."""
    data: bytes | None
    progress: Progress | None


class Completing(msgspec.Struct, tag=15, array_like=True, frozen=True):
    """The completion is about to be written in the executor's transaction, with this result."""

    execution: TaskEpoch
    value: bytes


class Succeeded(msgspec.Struct, tag=16, array_like=True, frozen=True):
    """The executor returned this result; ``data`` is how many bytes the process then has."""

    value: bytes
    data: int
    committed: bool
    """In the executor's own transaction."""


class Gone(msgspec.Struct, tag=17, array_like=True, frozen=True):
    """The attempt ended otherwise: failed, or given up (``released``)."""

    failed: Failed | None
    released: str
    data: int
    aborted: bool
    """It was broken off in the middle; the process is not to be used again."""


ToChild: TypeAlias = Prepare | Run | GiveUp | Noted
ToRunner: TypeAlias = Ready | Unfit | Started | Reported | Completing | Succeeded | Gone

HEAD: Final = struct.Struct("!I")
_encode: Final = msgspec.msgpack.Encoder().encode
decode_to_child: Final = msgspec.msgpack.Decoder(ToChild).decode
decode_to_runner: Final = msgspec.msgpack.Decoder(ToRunner).decode


def frame(message: ToChild | ToRunner) -> bytes:
    """Return a message as it goes over the wire: its length, then itself."""
    data = _encode(message)
    return HEAD.pack(len(data)) + data
