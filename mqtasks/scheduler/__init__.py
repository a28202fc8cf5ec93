"""The scheduler: allocates, rescues, promotes, triggers cron and prunes.

Each component is a step function in a file of its own (P15): `leader`, `promoter`, `allocator`
(with `capacity`, `fleet`, `placement` and `rebalance`), `rescuer`, `cron`, `pruner`, `stats`.
`scheduler` puts a thread around each. All but cron act only while this scheduler leads.
"""

from mqtasks.scheduler.options import SchedulerOptions
from mqtasks.scheduler.scheduler import Scheduler

__all__ = ["Scheduler", "SchedulerOptions"]
