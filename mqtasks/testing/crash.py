"""Deaths of a runner's process at chosen points of an execution."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from mqtasks.errors import InvalidArgument
from mqtasks.worker.context import TaskContext
from mqtasks.worker.held import Held

Point: TypeAlias = Literal["before_run", "after_step", "after_run", "after_commit", "frozen"]

CRASH_POINTS: Final[tuple[Point, ...]] = ("before_run", "after_run", "after_commit")
"""Where every task can crash: handed to its function, which has not begun; its function has
returned, or raised, and nothing is committed; the outcome is committed, and nobody was told."""
EVERY_POINT: Final[tuple[Point, ...]] = (*CRASH_POINTS, "after_step", "frozen")
"""And where only some do: after a step; and a process that does not die, but stands still for so
long that its task moves, and goes on then."""


class ProcessDied(BaseException):
    """Unwinds an executor whose process is killed. Nothing should catch it."""


class Crash:
    """A plan: the executions for which it holds, and what became of it."""

    def __init__(
        self,
        point: Point,
        *,
        executor: int | str | None = None,
        step: str | None = None,
        times: int = 1,
        skip: int = 0,
    ) -> None:
        if point not in EVERY_POINT:
            raise InvalidArgument("point", point, f"must be one of {', '.join(EVERY_POINT)}")
        if step is not None and point != "after_step":
            raise InvalidArgument("step", step, "belongs to the point after_step")
        if times < 1:
            raise InvalidArgument("times", times, "must be an int >= 1")
        self.point: Final = point
        self._executor = executor
        self._step = step
        self._times = times
        self._skip = skip
        self._lock = threading.Lock()
        self.victims: Final[list[str]] = []
        """The executions that were broken off, and where."""

    @property
    def happened(self) -> int:
        """How often the process has died by this plan."""
        return len(self.victims)

    def concerns(self, held: Held) -> bool:
        """Return whether the plan is for executions of this task."""
        return self._executor in {None, held.task.metadata.executor}

    def due(self, held: Held, point: Point, step: str) -> bool:
        """Return whether the process dies now, and note that it does."""
        if point != self.point or (self._step is not None and step != self._step):
            return False
        with self._lock:
            if self._skip:
                self._skip -= 1
                return False
            if self.happened >= self._times:
                return False
            where = f"{point} {step!r}" if step else point
            name = held.task.metadata.executor
            self.victims.append(f"{where} of {name} (task {held.task_id}, epoch {held.epoch})")
            return True

    def __str__(self) -> str:
        of = "" if self._executor is None else f" of {self._executor!r}"
        return f"{self.point}{of}"


class Probe:
    """Watches one execution from inside: its error, and where it crashes."""

    def __init__(self, held: Held, crashes: Sequence[Crash], freeze: Callable[[], None]) -> None:
        """Stand around the executor of ``held``; ``freeze()`` lets its runner lose the lease."""
        self._held = held
        self._crashes = [crash for crash in crashes if crash.concerns(held)]
        self._freeze = freeze
        self.died = False
        """Whether the process was killed while it was in the executor."""
        self.error: BaseException | None = None
        """What the executor has raised."""
        inner = held.executor.call
        call = self._around_async(inner) if held.executor.is_async else self._around(inner)
        vars(call).update(getattr(inner, "__dict__", {}))  # its way to encode results
        held.executor = msgspec.structs.replace(held.executor, call=call)

    def reached(self, point: Point, step: str = "") -> bool:
        """Return whether the process dies at this point."""
        dies = [
            crash.due(self._held, point, step) for crash in self._crashes
        ]  # each counts this passage
        return any(dies)

    def step_stored(self, step: str) -> None:
        """Say that a step is stored; raises ProcessDied if that is where the process dies."""
        self._pass("after_step", step)

    def _pass(self, point: Point, step: str = "") -> None:
        if self.reached(point, step):
            self.died = True
            raise ProcessDied(point)

    def _enter(self) -> None:
        if self.reached("frozen"):
            self._freeze()
        self._pass("before_run")

    def _failed(self, error: BaseException) -> None:
        if not self.died:
            self.error = error
            self._pass("after_run")

    def _around(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(context: TaskContext, task: Any) -> Any:
            self._enter()
            try:
                value = inner(context, task)
            except BaseException as error:
                self._failed(error)
                raise
            self._pass("after_run")
            return value

        return call

    def _around_async(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        async def call(context: TaskContext, task: Any) -> Any:
            self._enter()
            try:
                value = await inner(context, task)
            except BaseException as error:
                self._failed(error)
                raise
            self._pass("after_run")
            return value

        return call
