"""The SQL storages put together from their operation groups."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from mqtasks.storage.contract import Capabilities, TaskStorage
from mqtasks.storage.sql.allocate import SqlAllocate
from mqtasks.storage.sql.base import when_disabled
from mqtasks.storage.sql.children import SqlChildren
from mqtasks.storage.sql.create import SqlCreate
from mqtasks.storage.sql.cron import SqlCron
from mqtasks.storage.sql.database import Database
from mqtasks.storage.sql.deadlines import SqlDeadlines
from mqtasks.storage.sql.dependencies import SqlDependencies
from mqtasks.storage.sql.firings import SqlFirings
from mqtasks.storage.sql.lanes import SqlLanes
from mqtasks.storage.sql.leases import SqlLeases
from mqtasks.storage.sql.life import SqlLife
from mqtasks.storage.sql.operator import SqlOperator
from mqtasks.storage.sql.pauses import SqlPauses
from mqtasks.storage.sql.prune import SqlPrune
from mqtasks.storage.sql.rescue import SqlRescue
from mqtasks.storage.sql.runners import SqlRunners
from mqtasks.storage.sql.steps import SqlSteps
from mqtasks.storage.sql.tasks import SqlTasks
from mqtasks.storage.sql.windows import SqlWindows
from mqtasks.storage.sql.work import SqlWork


class SQLTaskStorage(
    SqlTasks,
    SqlCreate,
    SqlPrune,
    SqlLanes,
    SqlAllocate,
    SqlWork,
    SqlLife,
    SqlOperator,
    SqlRunners,
    SqlRescue,
    SqlLeases,
    SqlCron,
    SqlFirings,
    SqlPauses,
    SqlSteps,
    SqlDependencies,
    SqlChildren,
    SqlDeadlines,
    SqlWindows,
    TaskStorage,
):
    """What SQLite's and MySQL's storage have in common: all but connections and clock."""

    def __init__(self, database: Database, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self._db = database
        self._noted = set()
        self._signatures = {}
        self._rated = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def database(self) -> Database:
        """The units of work; `mqtasks.storage.migrate` and the monitor's reads go through it."""
        return self._db

    @when_disabled(int)
    def now_ms(self) -> int:
        """Return the database's clock, unix milliseconds UTC."""
        return self._db.read(lambda session: session.now())

    @when_disabled(lambda: None)
    def check_schema(self) -> None:
        """Raise SchemaMismatch, with the command to run, unless the schema is the known one."""
        from mqtasks.storage.migrate import demand_current

        demand_current(self)
