"""Exceptions as text that fits a row, whatever user code has put into them."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final

MAX_TEXT_BYTES: Final = 64 * 1024
"""Most bytes (UTF-8) of an error or a traceback."""
_CUT: Final = "\n... (cut) ...\n"
_CALLER: Final = str(Path(__file__).with_name("executor.py"))
"""Where executors are called; its frames mean nothing to users."""


def error_text(error: BaseException) -> str:
    """Return ``Type: message``, at most 64 KiB of it. Never raises."""
    kind = type(error).__name__
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - user classes may fail to describe themselves
        message = f"<str() of it failed with {type(broken).__name__}>"
    return capped(f"{kind}: {message}" if message else kind)


def traceback_text(error: BaseException) -> str:
    """Return the formatted traceback from the executor on, at most 64 KiB. Never raises."""
    own = frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == _CALLER:
        frames = frames.tb_next
    try:
        # Only our own frames are left if the executor could not even be called.
        lines = traceback.format_exception(type(error), error, frames or own)
    except Exception as broken:  # noqa: BLE001 - as above
        return f"<the traceback could not be formatted: {type(broken).__name__}>"
    return capped("".join(lines))


def capped(text: str) -> str:
    """Return text that UTF-8 can carry, its middle cut out if it is over 64 KiB."""
    data = text.encode(errors="backslashreplace")
    if len(data) > MAX_TEXT_BYTES:
        half = (MAX_TEXT_BYTES - len(_CUT)) // 2
        head = data[:half].decode(errors="ignore")
        return head + _CUT + data[-half:].decode(errors="ignore")
    return data.decode()
