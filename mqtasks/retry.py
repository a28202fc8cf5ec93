"""Whether a failed executor runs again, and when. Pure: randomness is handed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mqtasks.errors import Fail, PayloadError, Retry
from mqtasks.model import TaskOptions


class Rng(Protocol):
    """The part of `random.Random` that jitter needs."""

    def random(self) -> float:
        """Return a number in [0.0, 1.0)."""
        ...


@dataclass(frozen=True, slots=True)
class RunAgain:
    """Run the task again ``delay_ms`` milliseconds after the failure."""

    delay_ms: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the task as FAILED; ``reason`` says why there is no further attempt."""

    reason: str


def retry_delay_ms(options: TaskOptions, attempt: int, rng: Rng) -> int:
    """Return the delay before the next run, in milliseconds, once ``attempt`` runs have failed.

    The delay is ``retry_interval`` seconds after the first failure (``attempt`` 1), grows by
    ``backoff_factor`` with each further one, and never exceeds ``backoff_max``. ``jitter`` is the
    share of it that is random, and only shortens it: 0.0 = exact, 1.0 = anything down to 0.
    """
    try:
        delay = options.retry_interval * options.backoff_factor ** max(attempt - 1, 0)
    except OverflowError:
        delay = options.backoff_max if options.retry_interval else 0.0
    delay = min(delay, options.backoff_max)
    return round(delay * (1.0 - options.jitter * rng.random()) * 1000)


def decide(
    options: TaskOptions, attempt: int, error: BaseException | None, rng: Rng
) -> RunAgain | GiveUp:
    """Return what happens to a task whose executor has now failed ``attempt`` times.

    ``attempt`` counts this failure, so the first is 1; ``error`` is what the executor raised, None
    if it is not known. Arguments or results that cannot be (de)serialised are never retried: the
    next run would meet the same bytes.
    """
    if isinstance(error, PayloadError):
        return GiveUp("another run would meet the same payload")
    if isinstance(error, Fail):
        return GiveUp("the executor has given up")
    if options.max_retry_times <= 0:
        return GiveUp("max_retry_times is 0")
    if attempt > options.max_retry_times:
        return GiveUp(f"all {options.max_retry_times} retries are used up")
    if isinstance(error, Retry) and error.after is not None:
        return RunAgain(round(error.after * 1000))
    return RunAgain(retry_delay_ms(options, attempt, rng))
