"""The last lines of the demo: the comparison, and what was counted."""

from __future__ import annotations

from mqtasks.demo.report import Executions, compare
from mqtasks.demo.run import Outcome

_SHOWN = 16
"""Digits of a digest that are shown."""


def verdict(outcome: Outcome) -> list[str]:
    """Return the lines; the last one begins with ``OK`` or ``FAILED``."""
    tasks, firings = outcome.tasks, outcome.firings
    rate = tasks.tasks / outcome.seconds
    waited, punctual = outcome.waited, outcome.punctual
    lines = []
    lines.append(
        f"tasks {tasks.tasks:,}, lost {tasks.lost}, doubled {tasks.doubled}; {rate:,.0f} tasks/s,"
        f" created to started p50 {waited.p50:,} ms, p99 {waited.p99:,} ms"
    )
    lines += _interrupted(tasks, "executions")
    lines.append(
        f"cron firings {firings.fired} in {firings.seconds} seconds, missing {firings.missing},"
        f" doubled {firings.doubled}; due to started p50 {punctual.p50:,} ms,"
        f" p99 {punctual.p99:,} ms"
    )
    lines += _interrupted(outcome.cron_tasks, "executions of firings")
    lines.append(f"{'figure':<10} {'direct computation':>20} {'by tasks':>20}")
    for name, direct, by_tasks, same in compare(outcome.direct, outcome.added_up):
        says = "equal" if same else "DIFFERS"
        lines.append(f"{name:<10} {direct[:_SHOWN]:>20} {by_tasks[:_SHOWN]:>20}  {says}")
    if outcome.right:
        lines.append("OK: the sums are equal, nothing was lost, nothing was done twice")
    else:
        lines.append("FAILED: " + "; ".join(_wrong(outcome)))
    return lines


def _interrupted(executions: Executions, what: str) -> list[str]:
    """Explain why there are more executions than tasks."""
    if not executions.interrupted:
        return []
    line = (
        f"{what} {executions.executions:,}: {executions.interrupted} were interrupted and ran"
        " again under a higher epoch, as the histories say; each task completed once all the same"
    )
    return [line]


def _wrong(outcome: Outcome) -> list[str]:
    found = []
    if outcome.added_up != outcome.direct:
        found.append("the sums differ")
    if not outcome.firings.right:
        found.append("the cron did not fire once each second")
    for name, part in (("tasks", outcome.tasks), ("firings", outcome.cron_tasks)):
        if not part.right:
            found.append(
                f"{name}: {part.lost} lost, {part.doubled} doubled,"
                f" {part.unexplained} executions without a history"
            )
    return found
