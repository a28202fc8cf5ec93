"""The one place where threads run: steps in, start and stop out.

Everything that repeats is a step function over injected storage, coordination and clock (P15). A
`Loop` calls it: at its interval, sooner when woken or when the step asks for it, never twice at
once, and again after it has failed. So a component holds no thread, and a test calls its step.
"""

from mqtasks.loop.group import LoopGroup, LoopLike
from mqtasks.loop.loop import FIRST_RETRY, Loop, Observer, Step
from mqtasks.loop.outage import REMIND_EVERY, OutageLog
from mqtasks.loop.wake import Waitable, Wake
from mqtasks.loop.watch import ChangeWatcher

__all__ = [
    "FIRST_RETRY",
    "REMIND_EVERY",
    "ChangeWatcher",
    "Loop",
    "LoopGroup",
    "LoopLike",
    "Observer",
    "OutageLog",
    "Step",
    "Waitable",
    "Wake",
]
