"""A page of shared memory between a runner and whoever keeps its lease.

The runner writes what it executes, the keeper writes until when the lease may be trusted. Each
fact is one aligned 8 byte word, so it is read whole. When the runner's process dies, the keeper
reads from the page which tasks had been handed to an executor: only those are charged (P8).

Layout, in words: a header of 16, then three per slot: task id, epoch, start. A slot is occupied
while its task id is not 0; that word is written last and cleared first.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from typing import Final, Self

from mqtasks.model import RunnerState, TaskEpoch

_MAGIC: Final = 0x6D71_7461_736B_0001
_HEADER: Final = 16
_PER_SLOT: Final = 3
_WORD: Final = 8
_NS: Final = 1_000_000_000

_MAGIC_AT, _TRUSTED, _GENERATION, _FENCED, _STATE, _PARALLELISM = range(6)
_STARTED, _COMPLETED, _FAILED, _FREE, _ACT_BY = range(6, 11)


class Board:
    """The page. One runner and one keeper write it, each its own words; any thread may read.

    ``close`` may be called twice; nothing else may be called afterwards.
    """

    def __init__(self, memory: mmap.mmap, fd: int, parallelism: int = 0) -> None:
        """Use `create`, `private` or `attach`; ``parallelism`` > 0 makes an empty page."""
        self.fd = fd
        """File descriptor to hand to another process; -1 for a page of this process alone."""
        self._memory = memory
        self._view = memoryview(memory)
        self.words: Final = self._view.cast("Q")
        self._lock = threading.Lock()
        self._closed = False
        if parallelism:
            self.words[_PARALLELISM] = parallelism
            self.words[_FREE] = parallelism
            self.words[_MAGIC_AT] = _MAGIC

    @classmethod
    def create(cls, parallelism: int, fd: int | None = None) -> Self:
        """Return a new page in a file that has no name, for a process that gets its ``fd``.

        ``fd`` is a file that `empty_file` made; None = make one.
        """
        if fd is None:
            fd = empty_file()
        size = _size(parallelism)
        os.ftruncate(fd, size)
        return cls(mmap.mmap(fd, size), fd, parallelism)

    @classmethod
    def private(cls, parallelism: int) -> Self:
        """Return a new page that only this process can see."""
        return cls(mmap.mmap(-1, _size(parallelism)), -1, parallelism)

    @classmethod
    def attach(cls, fd: int) -> Self:
        """Return the page behind a file descriptor that another process made with `create`.

        Raises ValueError if there is no such page in it.
        """
        board = cls(mmap.mmap(fd, 0), fd)
        if board.words[_MAGIC_AT] != _MAGIC:
            raise ValueError(f"file descriptor {fd} holds no board of this version of mqtasks")
        return board

    def close(self) -> None:
        """Let go of the page, and of its file descriptor."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self.words.release()
        self._view.release()
        self._memory.close()
        self.close_fd()

    def close_fd(self) -> None:
        """Close the descriptor once no further process needs it; the page stays. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    # -- the keeper's words ----------------------------------------------------------------------

    @property
    def trusted_until(self) -> float:
        """Until when the lease may be trusted: seconds of `Clock.monotonic`; 0.0 = not at all."""
        return self.words[_TRUSTED] / _NS

    @trusted_until.setter
    def trusted_until(self, seconds: float) -> None:
        self.words[_TRUSTED] = max(0, int(seconds * _NS))

    @property
    def fenced(self) -> int:
        """The last generation that a renewal has found to be over; 0 = none."""
        return self.words[_FENCED]

    @fenced.setter
    def fenced(self, generation: int) -> None:
        self.words[_FENCED] = generation

    # -- the runner's words ----------------------------------------------------------------------

    @property
    def parallelism(self) -> int:
        """How many slots there are."""
        return self.words[_PARALLELISM]

    @property
    def generation(self) -> int:
        """The generation that the runner holds; 0 = not registered yet."""
        return self.words[_GENERATION]

    @generation.setter
    def generation(self, generation: int) -> None:
        self.words[_GENERATION] = generation

    @property
    def state(self) -> RunnerState | None:
        """State of the runner row as the runner knows it; None before it is registered."""
        value = self.words[_STATE]
        return RunnerState(value) if value else None

    @state.setter
    def state(self, state: RunnerState) -> None:
        self.words[_STATE] = state

    @property
    def act_by(self) -> float:
        """When the runner's watchdog has to do something; monotonic seconds, 0.0 = never."""
        return self.words[_ACT_BY] / _NS

    @act_by.setter
    def act_by(self, seconds: float) -> None:
        self.words[_ACT_BY] = int(seconds * _NS)

    def count(self, started: int, completed: int, failed: int, free: int) -> None:
        """Publish totals since the process began, and the slots that are free now."""
        words = self.words
        words[_STARTED] = started
        words[_COMPLETED] = completed
        words[_FAILED] = failed
        words[_FREE] = free

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """What `count` was told last: started, completed, failed, free slots."""
        words = self.words
        return words[_STARTED], words[_COMPLETED], words[_FAILED], words[_FREE]

    def occupy(self, slot: int, task_id: int, epoch: int, started: float) -> None:
        """Note that an executor gets this task now; ``started`` is monotonic seconds."""
        at = _HEADER + slot * _PER_SLOT
        words = self.words
        words[at + 1] = epoch
        words[at + 2] = int(started * _NS)
        words[at] = task_id

    def vacate(self, slot: int) -> None:
        """Note that the executor has returned."""
        self.words[_HEADER + slot * _PER_SLOT] = 0

    def executing(self, since: float = float("inf")) -> list[TaskEpoch]:
        """Return the tasks in executors now that were started at or before ``since``."""
        words = self.words
        found = []
        for at in range(_HEADER, _HEADER + self.parallelism * _PER_SLOT, _PER_SLOT):
            task_id = words[at]
            if task_id and words[at + 2] <= since * _NS:
                epoch = words[at + 1]
                if words[at] == task_id:  # the same task before and after reading its epoch
                    found.append(TaskEpoch(task_id, epoch))
        return found


def empty_file() -> int:
    """Return the descriptor of a file without a name, for a page whose size is not known yet."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("mqtasks-board")
    with tempfile.TemporaryFile(prefix="mqtasks-board-") as file:
        return os.dup(file.fileno())


def _size(parallelism: int) -> int:
    return (_HEADER + parallelism * _PER_SLOT) * _WORD
