"""What a supervisor does for its runner processes once it is connected."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from mqtasks.config import Settings
from mqtasks.loop import Loop, LoopGroup
from mqtasks.runtime import Runtime
from mqtasks.worker.beats import Beats
from mqtasks.worker.keeper import LeaseKeeper
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.undertaker import Undertaker
from mqtasks.worker.ward import Ward

_LOOPS_TIMEOUT: Final = 5.0
_IDLE: Final = 60.0

_log = logging.getLogger("mqtasks.worker")


class Companion(Protocol):
    """What may run beside the supervisor in its process, such as an embedded scheduler."""

    def start(self) -> object:
        """Start; called once the worker is connected."""
        ...

    def stop(self) -> object:
        """Stop, and return when that is done; called when the runner processes have ended."""
        ...


class Care:
    """The connections of a supervisor, the leases it keeps, and its companions."""

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        opened: Callable[[Runtime], Sequence[Companion]] | None,
    ) -> None:
        """Connect as ``settings`` say and begin; ``opened(runtime)`` returns the companions.

        Raises ConfigError, SchemaMismatch, StorageUnavailable.
        """
        self.options: Final = RunnerOptions.from_settings(settings, **options)
        with contextlib.ExitStack() as undo:
            runtime = Runtime.open(settings)
            undo.callback(runtime.close)
            loops = self._keep(runtime)
            undo.callback(loops.stop, _LOOPS_TIMEOUT)
            loops.start()
            for companion in opened(runtime) if opened is not None else ():
                undo.callback(companion.stop)
                companion.start()
            self._ending = undo.pop_all()

    def _keep(self, runtime: Runtime) -> LoopGroup:
        """Return the loops that keep leases and report the dead."""
        service, clock = runtime.service, runtime.clock
        self.keeper = LeaseKeeper(service.storage, self.options, clock, _log)
        self.undertaker = Undertaker(service, self.keeper)
        beats = Beats(service.heartbeats, _Wards(self.keeper), self.options, clock)
        renewal = self.options.renewal_interval
        burials = Loop("burials", self.undertaker.run_once, _IDLE)
        self.undertaker.wake = burials.wake
        return LoopGroup(
            [
                Loop("lease", self.keeper.run_once, renewal, retry_interval=renewal),
                Loop("beats", beats.run_once, self.options.heartbeat_interval),
                burials,
            ]
        )

    def close(self) -> None:
        """Stop the companions, keep no more leases, and disconnect; all of it, whatever raises."""
        self._ending.close()


class _Wards:
    """Those whose lease is kept, whenever they are asked for."""

    def __init__(self, keeper: LeaseKeeper) -> None:
        self._keeper = keeper

    def __iter__(self) -> Iterator[Ward]:
        return iter(self._keeper.wards)
