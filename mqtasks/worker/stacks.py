"""Where an executor is at this moment, as text for a history."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, Final

from mqtasks.process.frames import current_frames
from mqtasks.worker.describe import capped
from mqtasks.worker.held import Held

_CALLER: Final = str(Path(__file__).with_name("executor.py"))
"""Where executors are called; what is above it means nothing to users."""


def stack_of(held: Held) -> str:
    """Return the stack of a task that executes, most recent call last; empty if it has ended.

    That of a coroutine which waits is the chain of its awaits. From any other thread; never raises.
    """
    coroutine = held.coroutine
    if coroutine is not None:
        loop = coroutine.get_loop()
        if asyncio.current_task(loop) is not coroutine:
            return _format(_awaits(coroutine.get_coro()))
        return thread_stack(getattr(loop, "_thread_id", 0) or 0)
    guard = held.guard
    if guard is None or guard.owner is not held:
        return ""
    text = thread_stack(guard.ident)
    return text if guard.owner is held else ""  # else it may be that of the next task


def thread_stack(ident: int) -> str:
    """Return what a thread does, from the executor on; empty if there is no such thread."""
    frame = current_frames().get(ident)
    frames: list[tuple[FrameType, int]] = []
    while frame is not None:
        frames.append((frame, frame.f_lineno))
        frame = frame.f_back
    frames.reverse()
    ours = [at for at, (each, _) in enumerate(frames) if each.f_code.co_filename == _CALLER]
    return _format(frames[ours[-1] + 1 :] if ours else frames)


def _awaits(awaited: Any) -> list[tuple[FrameType, int]]:
    frames: list[tuple[FrameType, int]] = []
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None and frame.f_code.co_filename != _CALLER:
            frames.append((frame, frame.f_lineno))
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return frames


def _format(frames: list[tuple[FrameType, int]]) -> str:
    try:
        return capped("".join(traceback.StackSummary.extract(iter(frames)).format()))
    except Exception as error:  # noqa: BLE001 - a file that cannot be read, say
        return f"<the stack could not be formatted: {type(error).__name__}>\n"
