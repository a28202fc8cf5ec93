"""Why a child process has ended, in words, and where it was."""

from __future__ import annotations

import re
import signal
from typing import Final

from mqtasks.worker.describe import capped

_WORDS: Final = {
    signal.SIGKILL: "SIGKILL; the system sends it when memory runs out, and so may anybody",
    signal.SIGSEGV: "SIGSEGV: it used memory that was not its own",
    signal.SIGBUS: "SIGBUS: it used memory that is not there",
    signal.SIGABRT: "SIGABRT: it, or a library it uses, gave up",
    signal.SIGFPE: "SIGFPE: an arithmetic error",
    signal.SIGILL: "SIGILL: an instruction that this processor does not have",
    signal.SIGXCPU: "SIGXCPU: its CPU time was used up",
}
_BLOCK: Final = re.compile(r"\n{2,}")
_OWN: Final = "/mqtasks/worker/"


def cause(code: int) -> str:
    """Return how a process has ended: ``code`` is its exit code, negative for a signal."""
    if code >= 0:
        return f"ended with exit code {code}, as by os._exit; such an end leaves no stack"
    try:
        number = signal.Signals(-code)
    except ValueError:
        return f"was ended by signal {-code}"
    return f"was ended by {_WORDS.get(number, number.name)}"


def stacks(dump: str) -> str:
    """Return the stacks that a dying process has written, without frames and threads of ours."""
    kept = [_trimmed(block) for block in _BLOCK.split(dump.strip()) if block]
    return capped("\n\n".join(filter(None, kept)))


def _trimmed(block: str) -> str:
    """Return a stack up to where our code called the user's; empty if there is no other code."""
    lines = block.splitlines()
    frames = [line.lstrip().startswith("File ") for line in lines]
    ours = [n for n, line in enumerate(lines) if frames[n] and _OWN in line]
    if not ours:
        return block
    kept = lines[: ours[0]]
    return "\n".join(kept) if any(frames[: ours[0]]) and not _ours_only(kept) else ""


def _ours_only(lines: list[str]) -> bool:
    """Return whether a thread of ours waits in the standard library."""
    return lines[0].startswith("Thread ") and all("/threading.py" in line for line in lines[1:])
