"""Which exceptions are retried, and after how long, by the code of a task (M9)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mqtasks.errors import Fail, InvalidArgument, PayloadError, Retry, TaskFailed
from mqtasks.model import TaskOptions
from mqtasks.retry import DEFAULT_POLICY, GiveUp, RetryPolicy, RunAgain

OPTIONS = TaskOptions(max_retry_times=3, retry_interval=0.5, backoff_factor=3.0, jitter=0.0)
DEFAULT = RunAgain(500)


class Fixed:
    def random(self) -> float:
        return 0.5


def judged(policy: RetryPolicy, error: BaseException | None, attempt: int = 1) -> RunAgain | GiveUp:
    return policy.decide(OPTIONS, attempt, error, Fixed())


@pytest.mark.parametrize(
    ("retry_on", "give_up_on", "error", "again"),
    [
        (OSError, None, OSError(), True),
        (OSError, None, ConnectionError(), True),  # a subclass
        (ConnectionError, None, OSError(), False),  # a base class
        (OSError, None, ValueError(), False),  # the list is complete
        (None, OSError, ConnectionError(), False),
        (None, OSError, ValueError(), True),
        (OSError, FileNotFoundError, FileNotFoundError(), False),  # the more derived decides
        (OSError, FileNotFoundError, ConnectionError(), True),
        (ConnectionError, OSError, ConnectionResetError(), True),  # here too
        (ConnectionError, OSError, FileNotFoundError(), False),
        ((KeyError, OSError), (LookupError, ValueError), KeyError(), True),
        ((KeyError, OSError), (LookupError, ValueError), IndexError(), False),
        (OSError, None, TimeoutError(), True),  # what an attempt that timed out counts as
        (Exception, None, SystemExit(), False),
        (BaseException, None, SystemExit(), True),
    ],
)
def test_m9_the_type_decides_as_except_clauses_do(retry_on, give_up_on, error, again):
    answer = judged(RetryPolicy.of(retry_on, give_up_on), error)
    assert answer == (DEFAULT if again else GiveUp(f"{type(error).__name__} is not retried"))


def test_an_error_that_is_not_known_is_retried():
    assert judged(RetryPolicy.of(OSError, ValueError), None) == DEFAULT


def test_the_number_of_retries_limits_every_policy():
    policy = RetryPolicy.of(OSError, None, 0)
    assert judged(policy, OSError(), 3) == RunAgain(0)
    assert judged(policy, OSError(), 4) == GiveUp("all 3 retries are used up")
    assert policy.decide(TaskOptions(), 1, OSError(), Fixed()) == GiveUp("max_retry_times is 0")


def test_verdicts_and_payloads_decide_by_themselves():
    policy = RetryPolicy.of(OSError, Exception, 7)
    assert judged(policy, Retry("x", after=2)) == RunAgain(2000)
    assert judged(policy, Retry("x")) == RunAgain(7000)
    assert judged(policy, Fail("x")) == GiveUp("the executor has given up")
    payload = judged(RetryPolicy.of(Exception), PayloadError("x"))
    assert payload == GiveUp("another run would meet the same payload")


@pytest.mark.parametrize("delay", [7, 7.0, timedelta(seconds=7)])
def test_a_number_is_the_exact_delay_each_time(delay):
    policy = RetryPolicy.of(delay=delay)
    assert [judged(policy, OSError(), n) for n in (1, 2, 3)] == [RunAgain(7000)] * 3


def test_a_function_is_told_attempt_and_exception_and_may_leave_it_to_the_options():
    told: list[object] = []
    delays: dict[int, float | timedelta | None] = {1: 0.25, 2: timedelta(minutes=1), 3: None}

    def delay(attempt: int, error: Exception) -> float | timedelta | None:
        told.append((attempt, error))
        return delays[attempt]

    policy, error = RetryPolicy.of(delay=delay), ValueError("x")
    assert [judged(policy, error, n) for n in (1, 2, 3)] == [
        RunAgain(250),
        RunAgain(60_000),
        RunAgain(4500),
    ]
    assert told == [(1, error), (2, error), (3, error)]
    assert judged(policy, error, 4) == GiveUp("all 3 retries are used up")
    assert judged(policy, SystemExit()) == judged(policy, None) == DEFAULT
    assert len(told) == 3


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raising(error: BaseException):
    def delay(_attempt: int, _error: Exception) -> float:
        raise error

    return delay


@pytest.mark.parametrize(
    ("delay", "told"),
    [
        (raising(KeyError("rates")), "KeyError: 'rates'"),
        (raising(SystemExit(3)), "SystemExit: 3"),
        (raising(Unspeakable()), "Unspeakable"),
        (raising(ValueError("x" * 9000)), "ValueError: xxx"),
        (lambda _n, _error: -1, "its answer=-1: must be seconds >= 0"),
        (lambda _n, _error: float("nan"), "its answer=nan: must be"),
        (lambda _n, _error: float("inf"), "its answer=inf: must be"),
        (lambda _n, _error: 2.0**60, "<= 2**53 s"),
        (lambda _n, _error: "soon", "its answer='soon': must be"),
        (lambda _n, _error: True, "its answer=True: must be"),
    ],
)
def test_a_function_that_fails_costs_no_retry_and_is_told_of(delay, told):
    answer = judged(RetryPolicy.of(delay=delay), ValueError("x"))
    assert isinstance(answer, RunAgain)
    assert answer.delay_ms == DEFAULT.delay_ms
    assert answer.problem.startswith("retry_delay failed, so the task's options decide: ")
    assert told in answer.problem
    assert len(answer.problem) < 1000


async def later(_attempt: int, _error: Exception) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("given", "field", "remedy"),
    [
        ({"retry_on": "OSError"}, "retry_on", "must be an exception class"),
        ({"retry_on": [OSError]}, "retry_on", "a tuple of them"),
        ({"retry_on": ()}, "retry_on", "leave it out"),
        ({"retry_on": (OSError, int)}, "retry_on", "must be an exception class"),
        ({"give_up_on": OSError("x")}, "give_up_on", "must be an exception class"),
        ({"give_up_on": Retry}, "give_up_on", "decides by itself"),
        ({"retry_on": PayloadError}, "retry_on", "decides by itself"),
        ({"retry_on": (OSError, KeyError), "give_up_on": KeyError}, "give_up_on", "one of them"),
        ({"delay": -1}, "retry_delay", "seconds >= 0"),
        ({"delay": float("inf")}, "retry_delay", "seconds >= 0"),
        ({"delay": "5s"}, "retry_delay", "or a function (attempt, exception)"),
        ({"delay": True}, "retry_delay", "seconds >= 0"),
        ({"delay": lambda: 3}, "retry_delay", "must take (attempt, exception)"),
        ({"delay": later}, "retry_delay", "plain function"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(given, field, remedy):
    with pytest.raises(InvalidArgument) as caught:
        RetryPolicy.of(**given)
    assert caught.value.field == field
    assert remedy in str(caught.value)


def test_an_ordinary_error_of_ours_may_be_listed():
    assert judged(RetryPolicy.of(TaskFailed), TaskFailed(1, "x")) == DEFAULT
    assert RetryPolicy.of() is DEFAULT_POLICY
