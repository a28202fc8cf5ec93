"""Runner rows and leases: who may hold tasks, and who may allocate them."""

from __future__ import annotations

import msgspec

from mqtasks.model.status import RunnerState


class RunnerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One runner, as storage knows it."""

    id: str
    generation: int = 0
    """Raised by every start and by every fencing; 0 = not registered yet."""
    holder: str = ""
    """Random token of the process that registered it; tells two processes with one id apart."""
    state: RunnerState = RunnerState.ACTIVE
    lease_remaining_ms: int = 0
    """Milliseconds of lease left on the database's clock when read; <= 0 = lapsed."""
    executors: tuple[str, ...] = ()
    """Stored forms of the executor codes it runs."""
    labels: dict[str, str] = {}
    cpu: float = 0.0
    """Cores it offers for reservations."""
    memory: int = 0
    """Bytes it offers for reservations."""
    resources: dict[str, float] = {}
    """Named amounts it offers for reservations, such as ``{"gpu": 2}``."""
    parallelism: int = 1
    """Tasks it executes at once."""
    max_wait_tasks: int = 0
    """Tasks that may wait at it beside those."""
    host: str = ""
    pid: int = 0
    version: str = ""
    started_at: int = 0
    """Unix ms, database clock."""


class Leadership(msgspec.Struct, frozen=True):
    """A lease won: whoever writes with it proves that it still leads in this term."""

    name: str
    holder: str
    term: int


class LeaseInfo(msgspec.Struct, frozen=True):
    """A lease as read: who holds it, and for how many milliseconds more (<= 0 = lapsed)."""

    name: str
    holder: str
    term: int
    remaining_ms: int
