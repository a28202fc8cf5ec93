"""Threads that meet at a barrier and then do one thing each, over and over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

Answer = TypeVar("Answer")

PATIENCE = 50.0
"""Seconds after which a thread that was not met gives up: a test fails, it never hangs."""


def together(*calls: Callable[[], Answer]) -> list[Answer]:
    """Run each call on a thread of its own, all starting at once; return the answers in order."""
    return [answers[0] for answers in race([[call] for call in calls])]


def race(lists: Sequence[Sequence[Callable[[], Answer]]]) -> list[list[Answer]]:
    """Run lists of calls, one thread each; the n-th calls of all lists start at once.

    Raises the first error of any thread.
    """
    barrier = threading.Barrier(len(lists))
    answers: list[list[Answer]] = [[] for _ in lists]
    failures: list[BaseException] = []

    def work(calls: Sequence[Callable[[], Answer]], into: list[Answer]) -> None:
        try:
            for call in calls:
                barrier.wait(PATIENCE)
                into.append(call())
        except BaseException as error:  # noqa: BLE001 - raised by the caller's thread below
            failures.append(error)
            barrier.abort()

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(lists, answers, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    real = [error for error in failures if not isinstance(error, threading.BrokenBarrierError)]
    for error in real or failures:
        raise error
    return answers
