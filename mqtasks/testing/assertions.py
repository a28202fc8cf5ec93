"""Assertions about the tasks that were enqueued."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Unpack

from mqtasks.app import MQTasks, Task
from mqtasks.app.options import OptionFields
from mqtasks.model import AsyncTask
from mqtasks.testing.expect import Enqueued, Expectation, enqueued_of, explain, matching


class Assertions(ABC):
    """What `TaskTester` says about the tasks of an application."""

    def __init__(self, app: MQTasks) -> None:
        self.app: Final = app
        """The application under test."""
        self._seen = 0

    @abstractmethod
    def _rows(self) -> list[AsyncTask]:
        """Return the tasks that can be seen."""

    def enqueued(self, task: Task[..., Any] | int | str | None = None) -> list[Enqueued]:
        """Return the tasks enqueued so far, of one executor or all, whatever their state is."""
        rows = [row for row in self._rows() if row.id > self._seen]
        if task is not None:
            code = code_of(task)
            rows = [row for row in rows if row.metadata.executor == code]
        return enqueued_of(self.app, rows)

    def clear(self) -> None:
        """Let `enqueued` and the assertions begin anew; the tasks themselves stay."""
        self._seen = max((task.id for task in self._rows()), default=self._seen)

    def assert_enqueued(
        self,
        task: Task[..., Any] | int | str,
        /,
        *args: Any,
        kwargs: Mapping[str, Any] | None = None,
        count: int | None = None,
        id: str | None = None,  # noqa: A002 - the field's name everywhere
        at: datetime | None = None,
        **options: Unpack[OptionFields],
    ) -> list[Enqueued]:
        """Fail the test unless a task was enqueued as described; return those that were.

        ``args`` and ``kwargs`` are compared with what it was enqueued with, by parameter, however
        it was passed; parameters left out may be anything, and so may be what equals everything
        (``unittest.mock.ANY``). ``options`` are those of `Task.options`: ``delay=60``,
        ``key="acme"``. ``count``: exactly that many, None = one or more. Tasks count whether they
        have run or not.
        """
        __tracebackhide__ = True
        found, expected = self._expect(task, args, kwargs, options, id=id, at=at)
        matched = matching(expected, found)
        if len(matched) != count if count is not None else not matched:
            raise AssertionError(explain(expected, found, count))
        return matched

    def refute_enqueued(
        self,
        task: Task[..., Any] | int | str,
        /,
        *args: Any,
        kwargs: Mapping[str, Any] | None = None,
        id: str | None = None,  # noqa: A002 - as above
        at: datetime | None = None,
        **options: Unpack[OptionFields],
    ) -> None:
        """Fail the test if a task was enqueued as described; see `assert_enqueued`."""
        __tracebackhide__ = True
        found, expected = self._expect(task, args, kwargs, options, id=id, at=at)
        if matching(expected, found):
            raise AssertionError(explain(expected, found, 0))

    def _expect(
        self,
        task: Task[..., Any] | int | str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
        **others: Any,
    ) -> tuple[list[Enqueued], Expectation]:
        given = {name: value for name, value in others.items() if value is not None}
        wanted = Expectation(
            code_of(task), self.app.registry, args, kwargs or {}, {**options, **given}
        )
        return self.enqueued(), wanted


def code_of(task: Task[..., Any] | int | str) -> int | str:
    """Return the executor code of a task, however it is named."""
    return task.code if isinstance(task, Task) else task
