"""Runner rows: registering, renewing, states (P2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mqtasks.errors import RunnerConflict
from mqtasks.model import RunnerRecord, RunnerState, checked_id
from mqtasks.storage.checks import STARTED_ANEW, checked_number
from mqtasks.storage.contract import Renewal
from mqtasks.storage.sql.base import SqlBase, when_disabled
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.queries import template
from mqtasks.storage.sql.rescue import rescue, was_started
from mqtasks.storage.sql.rows import Row

_STATES: Final = {int(state): state for state in RunnerState}
_encode = msgspec.json.Encoder(order="sorted").encode
_decode_names = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_resources = msgspec.json.Decoder(dict[str, float]).decode
_decode_labels = msgspec.json.Decoder(dict[str, str]).decode


class SqlRunners(SqlBase):
    """See `RunnerOperations`; taking tasks from runners is `SqlRescue`."""

    @when_disabled(int)
    def register_runner(self, runner: RunnerRecord, lease_ms: int, max_crashes: int) -> int:
        """Write a runner's row ACTIVE with generation + 1; return the generation."""
        _check(runner)

        def work(session: Session) -> int:
            row = session.one("lock_runner", runner.id)
            if row is None:
                session.run(
                    "insert_runner", runner.id, runner.holder, lease_ms, *_described(runner)
                )
                generation = 1
            else:
                _demand_free(runner, row)
                session.run(
                    "restart_runner", runner.holder, lease_ms, *_described(runner), runner.id
                )
                generation = row[0] + 1
            if runner.resources:
                session.run("offer_resources", runner.id, _encode(runner.resources))
            else:
                session.run("withdraw_resources", runner.id)
            rescue(session, runner.id, was_started, max_crashes, STARTED_ANEW)
            return generation

        return self._db.transact(work)

    @when_disabled(frozenset[str])
    def renew_runners(self, renewals: Sequence[Renewal], lease_ms: int) -> frozenset[str]:
        """Extend leases to now + lease_ms; return the runner ids that were renewed."""
        # Only one generation of an id can be alive; the latest asked for is it, or none is.
        latest = {item.runner_id: item.generation for item in sorted(renewals, key=_generation)}
        if not latest:
            return frozenset()
        names = sorted(latest)
        which = " OR ".join(["(runner_id = ? AND generation = ?)"] * len(names))
        params = [value for name in names for value in (name, latest[name])]

        def work(session: Session) -> frozenset[str]:
            renew = template(f"{session.text('renew_runners')} AND ({which})")
            if session.run(renew, lease_ms, *params) == len(names):
                return frozenset(names)
            look = template(f"{session.text('renewable_runners')} AND ({which})")
            return frozenset(row[0] for row in session.rows(look, *params))

        return self._db.single(work)

    @when_disabled(bool)
    def set_runner_state(self, runner_id: str, generation: int, state: RunnerState) -> bool:
        """Write ACTIVE, DRAINING or STOPPED; False if that generation is over. Idempotent."""
        number = int(RunnerState(state))
        params = (number, number, runner_id, generation, number)
        return self._db.single(lambda session: session.run("set_runner_state", *params)) > 0

    @when_disabled(list[RunnerRecord])
    def runners(self) -> list[RunnerRecord]:
        """Return all runner rows by id."""
        return [_from_row(row) for row in self._db.read(lambda session: session.rows("runners"))]

    @when_disabled(int)
    def forget_runners(self, stopped_for_ms: int) -> int:
        """Delete rows of runners STOPPED that long ago which own no live task."""

        def work(session: Session) -> int:
            stopped = [row[0] for row in session.rows("stopped_runners", stopped_for_ms)]
            idle = [name for name in stopped if not session.rows("live_ids", name)]
            for runner_id in idle:
                session.run("withdraw_resources", runner_id)
            return sum(session.run("delete_runner", runner_id) for runner_id in idle)

        return self._db.transact(work)


def _generation(renewal: Renewal) -> int:
    return renewal.generation


def _demand_free(runner: RunnerRecord, row: Row) -> None:
    _, holder, state, remaining, host, pid = row
    if holder != runner.holder and state != RunnerState.STOPPED and remaining > 0:
        raise RunnerConflict(
            runner.id,
            f"is alive at {host or 'another host'} (process {pid}) for {remaining / 1000:.1f} s"
            " more; stop that one, wait, or choose another id",
            remaining / 1000,
        )


def _check(runner: RunnerRecord) -> None:
    checked_id("runner.id", runner.id)
    for field in ("holder", "host", "version"):
        checked_id(f"runner.{field}", getattr(runner, field), empty=True)
    for field in ("memory", "parallelism", "max_wait_tasks", "pid"):
        checked_number(f"runner.{field}", getattr(runner, field))


def _described(runner: RunnerRecord) -> tuple[Any, ...]:
    return (
        _encode(runner.executors),
        _encode(runner.labels),
        float(runner.cpu),
        runner.memory,
        runner.parallelism,
        runner.max_wait_tasks,
        runner.host,
        runner.pid,
        runner.version,
    )


def _from_row(row: Row) -> RunnerRecord:
    (
        runner_id,
        generation,
        holder,
        state,
        remaining,
        executors,
        labels,
        cpu,
        memory,
        parallelism,
        max_wait_tasks,
        host,
        pid,
        version,
        started_at,
        resources,
    ) = row
    return RunnerRecord(
        id=runner_id,
        generation=generation,
        holder=holder,
        state=_STATES[state],
        lease_remaining_ms=remaining,
        executors=_decode_names(executors),
        labels=_decode_labels(labels),
        cpu=cpu,
        memory=memory,
        parallelism=parallelism,
        max_wait_tasks=max_wait_tasks,
        host=host,
        pid=pid,
        version=version,
        started_at=started_at,
        resources=_decode_resources(resources) if resources else {},
    )
