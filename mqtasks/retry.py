"""Whether a failed executor runs again, and when. Pure: randomness is handed in."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol, TypeAlias

from mqtasks.errors import Fail, InvalidArgument, PayloadError, Retry, Verdict, checked_seconds
from mqtasks.model import TaskOptions

ErrorTypes: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]
RetryDelay: TypeAlias = Callable[[int, Exception], float | timedelta | None]
"""Seconds before the next run, for the number of failed attempts and what was raised last."""

_LONGEST_PROBLEM: Final = 500  # characters


class Rng(Protocol):
    """The part of `random.Random` that jitter needs."""

    def random(self) -> float:
        """Return a number in [0.0, 1.0)."""
        ...


@dataclass(frozen=True, slots=True)
class RunAgain:
    """Run the task again ``delay_ms`` milliseconds after the failure."""

    delay_ms: int
    problem: str = ""
    """What went wrong while the delay was chosen; for the attempt's history."""


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


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What a task's code says about its retries, beside the options stored with each task.

    How often a task is retried is an option (``max_retry_times``) and limits every policy.
    Immutable; safe in many threads. Make it with `of`, which checks the values.
    """

    retry_on: tuple[type[BaseException], ...] = ()
    """Only these exceptions, and subclasses of them, are worth another run; empty = all are."""
    give_up_on: tuple[type[BaseException], ...] = ()
    """These, and subclasses, are not. Of two listed classes that match, the more derived decides:
    the one that comes first in the exception's method resolution order."""
    delay: float | RetryDelay | None = None
    """Before each retry: exact seconds, or what returns them for (attempt, exception), where 1 is
    the first failed attempt. None, also returned: as the task's options say."""

    @classmethod
    def of(
        cls,
        retry_on: ErrorTypes | None = None,
        give_up_on: ErrorTypes | None = None,
        delay: float | timedelta | RetryDelay | None = None,
    ) -> RetryPolicy:
        """Return a policy of checked values; raises InvalidArgument, naming the wrong one."""
        wanted = _types("retry_on", retry_on)
        unwanted = _types("give_up_on", give_up_on)
        if both := [error for error in wanted if error in unwanted]:
            raise InvalidArgument(
                "give_up_on", both[0].__name__, "is in retry_on too: leave it in one of them"
            )
        if delay is None:
            checked: float | RetryDelay | None = None
        elif callable(delay):
            checked = _checked_call(delay)
        else:
            checked = _delay_seconds(delay)
        if checked is None and not wanted and not unwanted:
            return DEFAULT_POLICY
        return cls(wanted, unwanted, checked)

    def decide(
        self, options: TaskOptions, attempt: int, error: BaseException | None, rng: Rng
    ) -> RunAgain | GiveUp:
        """Return what happens to a task whose executor has now failed ``attempt`` times.

        ``attempt`` counts this failure, so the first is 1; ``error`` is what the executor raised,
        None if it is not known. An attempt that timed out is judged as a TimeoutError. Arguments or
        results that cannot be (de)serialised are never retried: the next run would meet the same
        bytes. Never raises: a ``delay`` that fails is told of in `RunAgain.problem`.
        """
        if reason := self._refusal(options, attempt, error):
            return GiveUp(reason)
        if isinstance(error, Retry) and error.after is not None:
            return RunAgain(round(error.after * 1000))
        delay, problem = self._delay(attempt, error)
        if delay is None:
            return RunAgain(retry_delay_ms(options, attempt, rng), problem)
        return RunAgain(round(delay * 1000))

    def wants(self, error: BaseException) -> bool:
        """Return whether an exception is worth another run, by its type alone."""
        for kind in type(error).__mro__:
            if kind in self.give_up_on:
                return False
            if kind in self.retry_on:
                return True
        return not self.retry_on

    def _refusal(self, options: TaskOptions, attempt: int, error: BaseException | None) -> str:
        """Return why there is no further attempt; empty if there is one."""
        most = options.max_retry_times
        if isinstance(error, PayloadError):
            return "another run would meet the same payload"
        if isinstance(error, Fail):
            return "the executor has given up"
        if attempt > most:
            return f"all {most} retries are used up" if most > 0 else "max_retry_times is 0"
        if error is None or isinstance(error, Retry) or self.wants(error):
            return ""
        return f"{type(error).__name__} is not retried"

    def _delay(self, attempt: int, error: BaseException | None) -> tuple[float | None, str]:
        """Return the policy's own delay in seconds, if it has one, and what went wrong."""
        if not callable(self.delay):
            return self.delay, ""
        # What is no Exception (SystemExit, say) says nothing about the task's work.
        if not isinstance(error, Exception):
            return None, ""
        try:
            answer = self.delay(attempt, error)
            return None if answer is None else checked_seconds("its answer", answer), ""
        except BaseException as failure:  # noqa: BLE001 - the task must not be lost over it
            return None, f"retry_delay failed, so the task's options decide: {_told(failure)}"


DEFAULT_POLICY: Final = RetryPolicy()
"""All failures alike, as the task's options say."""


def decide(
    options: TaskOptions, attempt: int, error: BaseException | None, rng: Rng
) -> RunAgain | GiveUp:
    """As `RetryPolicy.decide`, for executors without a policy of their own."""
    return DEFAULT_POLICY.decide(options, attempt, error, rng)


def _types(field: str, given: Any) -> tuple[type[BaseException], ...]:
    """Return exception types as a tuple. Raises InvalidArgument."""
    if given is None:
        return ()
    types: tuple[Any, ...] = given if isinstance(given, tuple) else (given,)
    if not types:
        raise InvalidArgument(field, given, "names no exception class: leave it out")
    for item in types:
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            raise InvalidArgument(field, item, "must be an exception class, or a tuple of them")
        if issubclass(item, (Verdict, PayloadError)):
            raise InvalidArgument(
                field, item.__name__, "decides by itself whether the task runs again: leave it out"
            )
    return types


def _delay_seconds(value: float | timedelta) -> float:
    try:
        return checked_seconds("retry_delay", value)
    except InvalidArgument as error:
        raise InvalidArgument(
            error.field, value, f"{error.remedy}, or a function (attempt, exception) of them"
        ) from None


def _checked_call(call: RetryDelay) -> RetryDelay:
    if inspect.iscoroutinefunction(call):
        raise InvalidArgument("retry_delay", call, "must be a plain function, not a coroutine's")
    try:
        inspect.signature(call).bind(1, Exception())
    except TypeError as error:
        raise InvalidArgument(
            "retry_delay", call, f"must take (attempt, exception): {error}"
        ) from None
    except ValueError:
        pass  # a builtin that does not tell its parameters
    return call


def _told(error: BaseException) -> str:
    """Return an error in a few words, whatever its own code does."""
    try:
        return f"{type(error).__name__}: {error}"[:_LONGEST_PROBLEM]
    except Exception:  # noqa: BLE001 - user classes may fail to describe themselves
        return type(error).__name__
