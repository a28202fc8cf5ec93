"""A runner with one slot whose steps are made by hand: all of `mqtasks.worker`, no thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from mqtasks._version import __version__
from mqtasks.model import RunnerRecord, RunnerState, StepRecord
from mqtasks.registry import TaskDefinition
from mqtasks.service import TaskService
from mqtasks.testing.coroutines import Coroutines
from mqtasks.worker.board import Board
from mqtasks.worker.definitions import register_definition
from mqtasks.worker.executors import Executors
from mqtasks.worker.held import Held
from mqtasks.worker.keeper import LeaseKeeper
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.parts import Parts
from mqtasks.worker.ward import Ward

_HOLDER: Final = "mqtasks.testing"
_PLENTY: Final = 2**40
"""Of everything that tasks may reserve."""


class Offer(msgspec.Struct, frozen=True):
    """What a runner offers to tasks that ask for something."""

    labels: Mapping[str, str]
    resources: Mapping[str, float]


def offer_for(
    definitions: Iterable[TaskDefinition],
    labels: Mapping[str, str],
    resources: Mapping[str, float],
) -> Offer:
    """Return an offer on which every one of ``definitions`` can be placed, if that is possible."""
    all_labels, all_resources = dict(labels), dict(resources)
    for definition in definitions:
        for name, rule in definition.options.labels.items():
            if isinstance(rule, str):
                all_labels.setdefault(name, rule)
            elif rule.op != "not":
                all_labels.setdefault(name, rule.values[0] if rule.values else "")
        for name in definition.options.resources:
            all_resources.setdefault(name, float(_PLENTY))
    return Offer(all_labels, all_resources)


class HandRunner:
    """One registered runner.

    ``start(runner, held)`` is called when a task shall be executed, ``step_stored(held, name)`` in
    its executor when a step was. Not safe from many threads: the engine's lock covers all
    but `execute`.
    """

    def __init__(
        self,
        runner_id: str,
        service: TaskService,
        *,
        definitions: Iterable[TaskDefinition],
        offer: Offer,
        options: RunnerOptions,
        coroutines: Coroutines,
        start: Callable[[HandRunner, Held], None],
        step_stored: Callable[[Held, str], None],
    ) -> None:
        self.busy = False
        """Whether its slot is taken."""
        self.frozen = False
        """Whether its process stands still."""
        self._start = start
        self._coroutines = coroutines
        executors = Executors()
        middlewares = () if service.registry is None else service.registry.middlewares
        for definition in definitions:
            register_definition(executors, definition.unisolated(), middlewares)
        record = RunnerRecord(
            id=runner_id,
            holder=_HOLDER,
            executors=executors.close(),
            labels=dict(offer.labels),
            cpu=float(_PLENTY),
            memory=_PLENTY,
            resources=dict(offer.resources),
            parallelism=1,
            max_wait_tasks=0,
            host="localhost",
            pid=os.getpid(),
            version=__version__,
        )
        board = Board.private(1)
        parts = Parts(record, service, options, executors.by_code, board)
        self.parts: Final = parts
        steps = parts.surroundings.steps
        save = steps.save

        def saved(held: Held, step: StepRecord) -> StepRecord:
            stored = save(held, step)
            step_stored(held, step.name)
            return stored

        vars(steps)["save"] = saved
        parts.dispatcher.connect(self, self, parts.marker, parts.watchdog.watch)
        self._ward = Ward(record, board)
        self._keeper = LeaseKeeper(service.storage, options, service.clock, options.log)
        self._keeper.add(self._ward)
        parts.identity.register(lambda _seconds: True)
        parts.admission.open = True
        parts.subscribe()

    @property
    def id(self) -> str:
        """Its runner id."""
        return self.parts.identity.runner_id

    def submit(self, held: Held) -> None:
        """Hand on a task that has been given the slot."""
        self.busy = True
        self._start(self, held)

    # -- steps -----------------------------------------------------------------------------------

    def beat(self) -> None:
        """Renew the lease, then act on deadlines: time may have passed."""
        if self.frozen:
            return
        self._keeper.run_once()
        self.parts.watchdog.run_once()

    def look(self) -> None:
        """Take hints, look at storage, write starts and progress."""
        if self.frozen:
            return
        self.parts.hints.run_once()
        self.parts.fetch_once()
        self.parts.write_once()

    def execute(self, held: Held) -> None:
        """Run a task to its outcome, which is not committed yet."""
        if held.executor.is_async:
            self._coroutines.run(self.parts.execution.run_async, held)
        else:
            self.parts.execution.run(held)

    def commit(self, held: Held) -> None:
        """Commit the outcome of a task that has ended, and free the slot."""
        self.parts.completer.run_once()
        if not (held.executor.is_async or held.abandoned):
            self.parts.dispatcher.ended(held)
        self.busy = False

    # -- its end ---------------------------------------------------------------------------------

    def die(self, held: Held, *, executing: bool) -> None:
        """End as a killed process does, and be reported by its parent at once.

        ``executing`` says whether the task was in its executor, and so is charged with it (P8).
        """
        if executing:
            self.parts.board.occupy(0, held.task_id, held.epoch, held.started)
        self.parts.unsubscribe()
        self._keeper.bury(self._ward)
        self.parts.board.close()

    def fenced(self, runners: Iterable[RunnerRecord]) -> bool:
        """Return whether somebody has ended this generation."""
        generation = self.parts.identity.generation
        return any(one.id == self.id and one.generation != generation for one in runners)

    def leave(self) -> None:
        """Be forgotten: somebody has fenced this runner."""
        self.parts.unsubscribe()

    def retire(self) -> None:
        """Stop in order; it must be idle."""
        self.parts.unsubscribe()
        self.parts.identity.set_state(RunnerState.STOPPED)
        self.parts.board.close()
