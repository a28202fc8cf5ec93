"""An orderly stop: nothing new, hand back what waits, let what runs end, then release the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from mqtasks.clock import Clock
from mqtasks.errors import StorageError
from mqtasks.loop import Wake
from mqtasks.model import RunnerState
from mqtasks.storage.contract import TaskStorage
from mqtasks.worker.admission import Admission
from mqtasks.worker.cancel import Canceller
from mqtasks.worker.completer import Completer
from mqtasks.worker.dispatcher import Dispatcher
from mqtasks.worker.held import Cancel, Held, Holdings, Phase
from mqtasks.worker.identity import Identity
from mqtasks.worker.marker import Marker
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.outcome import Released

REASON: Final = "the runner stops"
_FLUSH_TIMEOUT: Final = 5.0
"""Seconds that storage gets to take the last outcomes; without it the lease lapses later."""


class Drain:
    """Stops a runner in order. `run` is called once; `hurry` from any thread, at any time.

    Call `changed` whenever a commit was made, so that waiting ends as soon as possible.
    ``announce()`` tells the scheduler that tasks were given back.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        storage: TaskStorage,
        holdings: Holdings,
        admission: Admission,
        dispatcher: Dispatcher,
        canceller: Canceller,
        completer: Completer,
        marker: Marker,
        announce: Callable[[], None],
        options: RunnerOptions,
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._announce = announce
        self._storage = storage
        self._holdings = holdings
        self._admission = admission
        self._dispatcher = dispatcher
        self._canceller = canceller
        self._completer = completer
        self._marker = marker
        self._options = options
        self._log = options.log
        self._now = clock.monotonic
        self._hurry = threading.Event()
        self._change = Wake()

    def hurry(self) -> None:
        """Cancel what runs now instead of waiting for it. Before or during `run`."""
        self._hurry.set()
        self._change.set()

    def changed(self) -> None:
        """Note that something has ended."""
        self._change.set()

    def run(self, timeout: float) -> None:
        """Stop: running tasks get ``timeout`` seconds, then ``cancel_timeout`` to give up.

        Never raises for storage: what it cannot be told now, it learns when the lease lapses.
        """
        self._admission.open = False
        waiting = self._dispatcher.close()
        for held in waiting:
            self._holdings.discard(held)
        self._tell("drain", lambda: self._identity.set_state(RunnerState.DRAINING))
        # What has ended must be committed, and what was started must be known as started, before
        # storage is asked to give back everything that was not.
        self._wait(lambda: not self._completer.pending, _FLUSH_TIMEOUT)
        self._tell("hand back waiting tasks", self._hand_back)
        if not self._hurry.is_set():
            self._wait(lambda: not len(self._holdings) or self._hurry.is_set(), timeout)
        for held in self._dispatcher.running():
            self._canceller.cancel(held, Cancel.SHUTDOWN)
        self._wait(self._nothing_runs, self._options.cancel_timeout)
        self._wait(lambda: not self._completer.pending, _FLUSH_TIMEOUT)
        self._tell("release what still runs", self._release_rest)
        self._tell("stop", lambda: self._identity.set_state(RunnerState.STOPPED))

    def _hand_back(self) -> None:
        started = [held for held in self._holdings.all() if held.phase is not Phase.WAITING]
        self._marker.mark(started)
        identity = self._identity
        count = self._storage.release_unstarted(identity.runner_id, identity.generation, REASON)
        if count:
            self._log.info("runner %s: %d waiting tasks handed back", identity.runner_id, count)
            self._announce()

    def _release_rest(self) -> None:
        # What has ended, and could not be committed, is not given back: storage may come to know.
        rest = [held for held in self._holdings.all() if held.phase is not Phase.ENDED]
        if not rest:
            return
        self._log.warning(
            "runner %s: %d tasks do not react to their cancellation; they are given back, and may"
            " run twice: %s",
            self._identity.runner_id,
            len(rest),
            ", ".join(str(held.task_id) for held in rest[:10]),
        )
        keys = [held.key for held in rest]
        self._storage.release_many(self._identity.runner_id, keys, REASON)
        self._announce()
        for held in rest:
            self._holdings.discard(held)

    def _nothing_runs(self) -> bool:
        # Slots are freed a moment after the outcome was handed over.
        return all(held.phase is Phase.ENDED for held in self._dispatcher.running())

    def _wait(self, done: Callable[[], bool], timeout: float) -> None:
        deadline = self._now() + timeout
        while not done() and (rest := deadline - self._now()) > 0:
            self._change.wait(rest)

    def _tell(self, what: str, tell: Callable[[], object]) -> None:
        try:
            tell()
        except StorageError as error:
            self._log.warning(
                "runner %s could not %s: %s; the scheduler takes its tasks over once its lease"
                " has lapsed",
                self._identity.runner_id,
                what,
                error,
            )


def give_back(
    dispatcher: Dispatcher, settle: Callable[[Held], None], most: int, reason: str
) -> int:
    """Hand back up to ``most`` tasks that wait, those that would start last; return how many."""
    taken = dispatcher.withdraw(lambda _: True, most)
    for held in taken:
        held.outcome = Released(reason)
        settle(held)
    return len(taken)
