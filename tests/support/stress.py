"""Hammers start and stop of anything that starts and stops as a `mqtasks.loop.Loop` does."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from mqtasks.loop import LoopLike

DEADLINE = 20.0


def hammer_start_stop(
    subject: LoopLike,
    is_running: Callable[[], bool],
    *,
    threads: int = 4,
    rounds: int = 50,
    seed: int = 0,
) -> None:
    """Call start, stop and request_stop in random order from several threads at once.

    Fails if a call raises or hangs, if the subject does not run after a final start, if it does
    not end on a final stop, or if stopping twice, or starting twice, makes a difference.
    """
    errors: list[BaseException] = []
    together = threading.Barrier(threads)

    def work(number: int) -> None:
        rng = random.Random(f"{seed}/{number}")
        try:
            together.wait(DEADLINE)
            for _ in range(rounds):
                call = rng.choice(["start", "start", "stop", "stop now", "ask"])
                if call == "start":
                    subject.start()
                elif call == "stop":
                    subject.stop(DEADLINE)
                elif call == "stop now":
                    subject.stop(0.0)
                else:
                    subject.request_stop()
        except BaseException as error:
            errors.append(error)
            raise

    workers = [
        threading.Thread(target=work, args=(number,), daemon=True) for number in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(DEADLINE)
    assert not any(worker.is_alive() for worker in workers), "a call to start or stop hangs"
    assert not errors, errors

    assert subject.stop(DEADLINE), "does not stop"
    assert subject.stop(DEADLINE), "the second stop does not say that it has ended"
    assert not is_running()
    subject.start()
    subject.start()
    assert is_running(), "does not run after start"
    assert subject.stop(DEADLINE), "does not stop after it was started twice"
    assert not is_running()
