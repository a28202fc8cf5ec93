"""While the server is away, calls cost nothing and somebody else looks for it."""

from __future__ import annotations

import logging
import threading

import pytest

from mqtasks.coordination.breaker import CircuitBreaker
from mqtasks.errors import CoordinationUnavailable
from tests.coordination.harness import DEADLINE, eventually, threads


class Server:
    """Something that can be away."""

    def __init__(self) -> None:
        self.away = False
        self.calls = 0
        self.probes = 0
        self.probed = threading.Event()

    def call(self) -> str:
        self.calls += 1
        if self.away:
            raise ConnectionError("cut")
        return "answer"

    def probe(self) -> None:
        self.probes += 1
        self.probed.set()
        if self.away:
            raise ConnectionError("still cut")


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def breaker(server):
    made = CircuitBreaker("redis://h", server.probe, lambda e: isinstance(e, OSError), str)
    yield made
    made.close()


def refuse():
    raise ValueError("NOPERM")


def test_answers_pass(breaker, server):
    assert breaker.call("ask", server.call) == "answer"
    assert not breaker.is_open
    assert breaker.outages == 0


def test_one_failure_stops_all_calls_until_a_probe_succeeds(breaker, server, caplog):
    caplog.set_level(logging.INFO)
    server.away = True
    with pytest.raises(CoordinationUnavailable, match="ask failed: cut"):
        breaker.call("ask", server.call)
    assert breaker.is_open
    for _ in range(1_000):
        with pytest.raises(CoordinationUnavailable, match="away"):
            breaker.call("ask", server.call)
    assert server.calls == 1
    assert server.probed.wait(DEADLINE)
    server.away = False
    assert eventually(lambda: not breaker.is_open)
    assert breaker.call("ask", server.call) == "answer"
    assert breaker.outages == 1
    assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]
    assert "going on without hints" in caplog.text
    assert "is back after" in caplog.text


def test_many_threads_failing_at_once_are_one_outage(breaker, server, caplog):
    server.away = True
    together = threading.Barrier(8)

    def meet() -> None:
        together.wait(DEADLINE)
        raise ConnectionError("cut")

    def work() -> None:
        with pytest.raises(CoordinationUnavailable):
            breaker.call("ask", meet)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(DEADLINE)
    assert breaker.outages == 1
    assert len(caplog.records) == 1


def test_a_refusal_is_no_outage_and_is_logged_once_until_it_works_again(breaker, server, caplog):
    for _ in range(3):
        with pytest.raises(CoordinationUnavailable, match="write failed: NOPERM"):
            breaker.call("write", refuse)
    assert breaker.call("ask", server.call) == "answer"
    assert not breaker.is_open
    assert len(caplog.records) == 1
    assert "refuses write (NOPERM)" in caplog.text
    breaker.call("write", server.call)
    with pytest.raises(CoordinationUnavailable):
        breaker.call("write", refuse)
    assert len(caplog.records) == 2


def test_close_stops_probing_for_good(breaker, server):
    server.away = True
    with pytest.raises(CoordinationUnavailable):
        breaker.call("ask", server.call)
    assert threads() == {"mqtasks-redis-probe"}
    breaker.close()
    breaker.close()
    assert threads() == set()
    server.away = False
    with pytest.raises(CoordinationUnavailable, match="closed"):
        breaker.call("ask", server.call)
    assert threads() == set()
