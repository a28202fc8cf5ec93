"""``@app.cron(...)`` and `app.crons`: cron tasks that an application declares, and their upkeep.

A declaration is brought in by its content hash: at the start of a worker, or by `Crons.sync`. What
operators change at runtime stays until the declaration itself changes; then the declaration wins,
except that a paused definition stays paused.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, overload

import msgspec
from msgspec.structs import replace

from mqtasks.app.task import Task
from mqtasks.cron import CronSchedule
from mqtasks.errors import ConfigError, CronNotFound, InvalidArgument
from mqtasks.model import CronPolicy, CronTask, TaskMetadata, checked_id
from mqtasks.service.crons import CronControl, policy_from

if TYPE_CHECKING:
    from mqtasks.app.application import MQTasks

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("mqtasks.cron")


class CronDeclaration(msgspec.Struct, frozen=True):
    """What ``@app.cron(...)`` says."""

    id: str
    cron_expr: str
    timezone: str
    policy: CronPolicy
    task: Task[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def digest(self) -> str:
        """Return a hash of all that it says, the same in every process."""
        definition = self.task.definition
        said = (
            self.cron_expr,
            self.timezone,
            self.policy,
            definition.executor,
            definition.options,
            definition.codec.encode_arguments(self.args, self.kwargs, definition.signature),
        )
        return hashlib.sha256(msgspec.msgpack.encode(said, order="sorted")).hexdigest()

    def row(self, app: str) -> CronTask:
        """Return the definition to be stored, without its next firing."""
        definition = self.task.definition
        context = definition.codec.encode_call(self.args, self.kwargs, definition.signature)
        return CronTask(
            metadata=TaskMetadata(self.id, definition.executor, context, definition.options),
            cron_expr=self.cron_expr,
            timezone=self.timezone,
            policy=self.policy,
            app=app,
            digest=self.digest(),
        )


class CronSync(msgspec.Struct, frozen=True):
    """What bringing declarations in did, or would do: ids of cron tasks, sorted."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    """Stored by this application earlier, and declared no more. Deleted only if that was asked."""
    conflicts: tuple[str, ...] = ()
    """Declared here, but added by another application or at runtime: left alone."""


class Crons:
    """The cron tasks of an application. Safe to use from many threads."""

    def __init__(self, app: MQTasks) -> None:
        """Keep the declarations of ``app``; users reach it as ``app.crons``."""
        self._app = app
        self.declared: Final[dict[str, CronDeclaration]] = {}
        """Declarations by id."""

    @property
    def control(self) -> CronControl:
        """Changing cron tasks while they run: edit, pause, resume, trigger, backfill, delete."""
        return self._app.service.crons

    def declare(
        self,
        task: Task[..., Any],
        cron_expr: str,
        *,
        id: str | None = None,  # noqa: A002 - the word users know
        timezone: str = "UTC",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **policy: Any,
    ) -> CronDeclaration:
        """Declare that a task runs on a schedule; nothing is stored before `sync`.

        ``id`` is by default the task's code. ``policy`` are fields of `CronPolicy`, as
        `CronControl.create` takes them. Raises InvalidCron, InvalidArgument, PayloadError, and
        ConfigError for an id that is declared already.
        """
        name = checked_id("id", str(task.code) if id is None else id)
        CronSchedule.parse(cron_expr, timezone)
        chosen = policy_from(CronPolicy(), policy)
        made = CronDeclaration(
            name, cron_expr, timezone, chosen, task, tuple(args), dict(kwargs or {})
        )
        made.digest()  # arguments that do not fit are refused here
        if self.declared.setdefault(name, made) is not made:
            raise ConfigError(f"cron task {name!r} is declared already: give this one another id")
        return made

    @property
    def name(self) -> str:
        """What the application is known as: the package that its tasks are defined in."""
        for definition in self._app.registry:
            return str(definition.function.__module__).partition(".")[0]
        return ""

    def sync(self, *, remove: bool = False, dry_run: bool = False) -> CronSync:
        """Bring the declarations into storage; return what was done, or would be.

        Safe to call again, and from many processes at once. ``remove`` deletes what this
        application declared earlier and declares no more; without it that is only reported.
        """
        name, service = self.name, self._app.service
        stored = {cron.metadata.id: cron for cron in service.query_cron_task()}
        found: dict[str, list[str]] = {field: [] for field in CronSync.__struct_fields__}
        for cron_id, declared in sorted(self.declared.items()):
            how = _compare(declared, stored.get(cron_id), name)
            found[how].append(cron_id)
            if not dry_run and how == "added":
                service.crons.add(declared.row(name))
            elif not dry_run and how == "changed":
                self._replace(declared, name)
        found["removed"] = sorted(
            cron.metadata.id
            for cron in stored.values()
            if name and cron.app == name and cron.metadata.id not in self.declared
        )
        for cron_id in found["removed"] if remove and not dry_run else ():
            service.crons.delete(cron_id)
        return CronSync(**{field: tuple(ids) for field, ids in found.items()})

    def sync_at_start(self) -> None:
        """As `sync`, and log what somebody should look at. Does nothing without declarations."""
        if not self.declared:
            return
        done = self.sync()
        if done.added or done.changed:
            _log.info("cron tasks declared in code: added %s, changed %s", done.added, done.changed)
        for cron_id in done.removed:
            _log.warning(
                "cron task %r is declared no more and still fires: mqtasks cron sync --remove",
                cron_id,
            )
        for cron_id in done.conflicts:
            _log.warning(
                "cron task %r is declared here, but was added by somebody else: it stays as it is;"
                " give this one another id, or remove the other",
                cron_id,
            )

    def _replace(self, declared: CronDeclaration, name: str) -> None:
        row = declared.row(name)

        def change(cron: CronTask) -> CronTask:
            if _compare(declared, cron, name) != "changed":
                return cron  # another process was faster
            return replace(
                row,
                id=cron.id,
                next_time=cron.next_time,
                trigger_times=cron.trigger_times,
                version=cron.version,
                paused=cron.paused,
                pause_reason=cron.pause_reason,
                counted_from=cron.counted_from,
            )

        try:
            self._app.service.crons.change(row.metadata.id, change)
        except CronNotFound:
            _log.warning("cron task %r was deleted while it was brought in", row.metadata.id)


def _compare(declared: CronDeclaration, stored: CronTask | None, name: str) -> str:
    if stored is None:
        return "added"
    if stored.app != name:
        return "conflicts"
    return "unchanged" if stored.digest == declared.digest() else "changed"


class CronDecorator:
    """What ``@app.cron(...)`` returns: declares the task, or the plain function, below it."""

    def __init__(self, app: MQTasks, cron_expr: str, given: dict[str, Any]) -> None:
        self._app = app
        self._cron_expr = cron_expr
        self._given = given

    @overload
    def __call__(self, function: Task[P, R], /) -> Task[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...

    def __call__(self, function: Any, /) -> Any:
        """Declare the task, or register the function and declare its task; return the task."""
        task = function if isinstance(function, Task) else self._app.task(function)
        if task.app is not self._app:
            raise InvalidArgument("task", task, "belongs to another application")
        self._app.crons.declare(task, self._cron_expr, **self._given)
        return task
