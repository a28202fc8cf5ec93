"""The demo itself: create, wait, add up, compute directly, compare."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from mqtasks.clock import SystemClock
from mqtasks.conditions import where
from mqtasks.demo import figures, report, tally, tasks
from mqtasks.demo.figures import Figures
from mqtasks.demo.stages import Stage
from mqtasks.demo.watch import Display, ProgressFile
from mqtasks.errors import MQTasksError
from mqtasks.loop import Wake
from mqtasks.model import FINAL, AsyncTask, CronPolicy, TaskMetadata, TaskStatus

_STEP: Final = 0.1
_PATIENCE: Final = 60.0
"""Seconds without any progress after which the rest counts as lost."""
_UNFINISHED: Final = [status for status in TaskStatus if status not in FINAL]


class Outcome(msgspec.Struct, frozen=True):
    """Everything the verdict rests on."""

    tasks: report.Executions
    firings: report.Firings
    cron_tasks: report.Executions
    added_up: Figures
    """By the tasks."""
    direct: Figures
    seconds: float
    """From the first creation until every task had ended."""
    waited: report.Latency
    """Created to started, of the measuring tasks."""
    punctual: report.Latency
    """Due to started, of the cron's tasks."""

    @property
    def right(self) -> bool:
        """Whether nothing is lost, nothing doubled, and the sums are equal."""
        executed = self.tasks.right and self.cron_tasks.right and self.firings.right
        return executed and self.added_up == self.direct


class Demo:
    """One run over some source files. Use it once."""

    def __init__(self, stage: Stage, display: Display, files: Sequence[Path]) -> None:
        self._stage = stage
        self._display = display
        self._files = files
        self._service = tasks.app.service
        self._clock = SystemClock()
        self._pause = Wake()
        self._parent = f"demo-{secrets.token_hex(4)}"
        self._cron = f"{self._parent}-report"
        self._tally = stage.folder / "executions"
        self._reports = stage.folder / "reports"
        self._progress = ProgressFile(stage.folder / "progress")

    def run(self) -> Outcome:
        """Run and return the outcome. Raises MQTasksError if adding up fails."""
        began = self._clock.monotonic()
        self._create()
        self._wait_for_tasks()
        seconds = self._clock.monotonic() - began
        handle = tasks.add_up.options(id=f"{self._parent}-sum").enqueue(self._parent)
        added_up = handle.result(timeout=_PATIENCE)
        firings = self._end_cron()
        direct = self._compute()
        rows = self._children(self._parent)
        return Outcome(
            tasks=self._judge(rows, len(self._files), self._tally),
            firings=report.judge_firings(firings),
            cron_tasks=self._judge(firings, self._fired, self._reports),
            added_up=added_up,
            direct=direct,
            seconds=seconds,
            waited=report.latency(row.started_at - row.created_at for row in rows),
            punctual=report.latency(row.started_at - row.run_at for row in firings),
        )

    def _create(self) -> None:
        self._display.begin("creating tasks", len(self._files))
        arguments = [(str(path), str(self._tally)) for path in self._files]
        tasks.measure.options(parent=self._parent).enqueue_many(
            arguments, progress=self._display.at
        )
        definition = tasks.app.registry.require(tasks.REPORT)
        files = [str(self._stage.folder / "progress"), str(self._reports)]
        context = definition.codec.encode_call(files, {}, definition.signature)
        self._service.create_cron_task(
            TaskMetadata(self._cron, tasks.REPORT, context, definition.options),
            "* * * * * *",
            policy=CronPolicy(misfire="all"),
        )

    def _wait_for_tasks(self) -> None:
        """Wait until every task has ended, or nothing has happened for long."""
        total = len(self._files)
        self._display.begin("measuring files", total)
        done, halved = 0, False
        changed = self._clock.monotonic()
        while self._clock.monotonic() - changed < _PATIENCE:
            self._show_reports()
            finished = {
                entry.task_id
                for entry in tally.read(self._tally)
                if entry.event is tally.Event.FINISHED
            }
            if len(finished) != done:
                done, changed = len(finished), self._clock.monotonic()
                self._display.at(done)
            if not halved and done * 2 >= total:
                halved = True
                for line in self._stage.half_way():
                    self._display.say(line)
            if done >= total and not self._unfinished(self._parent):
                return
            self._pause.wait(_STEP)

    def _show_reports(self) -> None:
        for note in self._progress.new():
            counts = ", ".join(f"{name} {count:,}" for name, count in note.counts.items())
            self._display.say(f"cron: {counts}")

    def _end_cron(self) -> list[AsyncTask]:
        """Remove the cron, wait for what it has fired, and return that."""
        found = [cron for cron in self._service.query_cron_task() if cron.metadata.id == self._cron]
        self._service.delete_cron_task(self._cron)
        self._fired = found[0].trigger_times if found else 0
        deadline = self._clock.monotonic() + _PATIENCE
        while self._unfinished(self._cron) and self._clock.monotonic() < deadline:
            self._pause.wait(_STEP)
        self._show_reports()
        fired = self._children(self._cron)
        self._fired = max(self._fired, len(fired))  # it may have fired once more before the end
        return fired

    def _compute(self) -> Figures:
        """Return the sums computed here and now, without tasks."""
        self._display.begin("computing directly", len(self._files))
        found = []
        for number, path in enumerate(self._files, 1):
            found.append(figures.measure(path))
            self._display.at(number)
        return figures.add_up(found)

    def _judge(self, rows: list[AsyncTask], expected: int, file: Path) -> report.Executions:
        return report.judge(rows, expected, tally.read(file), self._service.attempts)

    def _children(self, parent: str) -> list[AsyncTask]:
        return self._service.query_task(where.parent_task_id == parent)

    def _unfinished(self, parent: str) -> bool:
        try:
            return bool(
                self._service.query_task(
                    where.parent_task_id == parent,
                    where.status.in_(_UNFINISHED),
                    where.limit(1),
                )
            )
        except MQTasksError:
            return True  # the caller asks again, and gives up in the end
