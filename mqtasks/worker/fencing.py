"""Coming back after the lease was lost: give up, clear the charges, register again (P4, P14)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from mqtasks.events import EventBus
from mqtasks.model import TaskEpoch
from mqtasks.storage.contract import TaskStorage
from mqtasks.worker.admission import Admission
from mqtasks.worker.cancel import Canceller
from mqtasks.worker.dispatcher import Dispatcher
from mqtasks.worker.held import Cancel, Holdings, Phase
from mqtasks.worker.identity import Identity


class Fencing:
    """Handles the end of this process's generation. One thread at a time runs its step.

    ``wait(seconds)`` waits for somebody else's lease and returns True to give up.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        storage: TaskStorage,
        holdings: Holdings,
        dispatcher: Dispatcher,
        canceller: Canceller,
        admission: Admission,
        wait: Callable[[float], bool],
        events: EventBus,
        log: logging.Logger,
    ) -> None:
        self._identity = identity
        self._storage = storage
        self._holdings = holdings
        self._dispatcher = dispatcher
        self._canceller = canceller
        self._admission = admission
        self._wait = wait
        self._events = events
        self._log = log
        self._fenced = 0
        self._started: list[TaskEpoch] = []

    def run_once(self) -> None:
        """Do everything, or raise StorageError or RunnerConflict; the next call goes on with it.

        Tasks that wait are forgotten: storage has given them away. Those that were started are
        cancelled, and the crash that their rescuer has charged to them is taken back: this process
        lives.
        """
        identity = self._identity
        if self._fenced != identity.generation:
            self._fenced = identity.generation
            self._give_up()
        if self._started:
            self._storage.absolve(identity.runner_id, self._started)
            self._started = []
        if not self._admission.open:
            return  # the runner stops; there is nothing to come back for
        generation = identity.register(self._wait)
        self._log.warning(
            "runner %s is registered again, as generation %d", identity.runner_id, generation
        )

    def _give_up(self) -> None:
        for held in self._dispatcher.withdraw(lambda _: True):
            self._holdings.discard(held)
        started = [held for held in self._holdings.all() if held.phase > Phase.STARTING]
        self._started = [held.key for held in started]
        running = self._dispatcher.running()
        for held in running:
            self._canceller.cancel(held, Cancel.REASSIGNED)
        identity = self._identity
        self._log.warning(
            "runner %s (generation %d) was fenced: its lease had lapsed, or somebody took its id;"
            " %d running tasks are cancelled",
            identity.runner_id,
            identity.generation,
            len(running),
        )
        self._events.emit(
            "runner.fenced", runner=identity.runner_id, generation=identity.generation
        )
