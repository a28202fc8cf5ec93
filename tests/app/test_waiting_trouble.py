"""Awaiting results while hints are lost, Redis dies, processes fork, and callers give up (S5)."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from mqtasks import MQTasks, StorageUnavailable, TaskCanceled, TaskHandle, as_completed, events
from mqtasks.config import Settings
from mqtasks.scheduler import Scheduler
from mqtasks.service import waiting
from mqtasks.worker import TaskRunner
from tests.support.servers import RedisServer

DEADLINE = 60.0
on_both = pytest.mark.parametrize("url", ["sqlite", "mysql"], indirect=True)
"""What may depend on the storage; the rest runs on MySQL."""


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{getattr(request, 'param', 'mysql')}_url")
    return found


def opened(url: str, redis_url: str) -> MQTasks:
    return MQTasks(settings=Settings.load(environ={}, url=url, redis=redis_url))


@pytest.fixture
def app(url: str, redis_url: str) -> Iterator[MQTasks]:
    """Hints go through a real Redis."""
    with opened(url, redis_url) as made:
        yield made


class Gate:
    """A task that ends when the gate opens, and a runner for it."""

    def __init__(self, app: MQTasks) -> None:
        self.opened = threading.Event()
        self.sent: list[str] = []
        self.told = threading.Event()
        self._app = app

        @app.task
        def work(number: int) -> int:
            assert self.opened.wait(DEADLINE)
            return number

        self.work = work
        publish, many = app.service.notifier.publish, app.service.notifier.publish_many

        def spy(channel: str, payload: bytes = b"") -> bool:
            answer = publish(channel, payload)
            self._note(channel)
            return answer

        def spy_many(messages: Any) -> bool:
            answer = many(messages)
            for channel, _ in messages:
                self._note(channel)
            return answer

        app.service.notifier.publish = spy  # type: ignore[method-assign]
        app.service.notifier.publish_many = spy_many  # type: ignore[method-assign]

    def _note(self, channel: str) -> None:
        self.sent.append(channel)
        if channel == self._app.service.keys.waiting:
            self.told.set()


@pytest.fixture
def gate(app: MQTasks) -> Iterator[Gate]:
    made = Gate(app)
    with Scheduler(app.service), TaskRunner("r", app.service, registry=app.registry):
        yield made
        made.opened.set()


@pytest.fixture
def hints_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polling would come far too late."""
    for name in ("FIRST_LOOK", "LONGEST", "LONGEST_UNHINTED"):
        monkeypatch.setattr(waiting, name, 600.0)


def in_thread(call: Callable[[], Any]) -> Callable[[], Any]:
    """Begin a call; return a function that waits for its answer, or raises what it raised."""
    answers: list[Any] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(call())
        except BaseException as error:  # noqa: BLE001 - raised where it is asked for
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def answer() -> Any:
        thread.join(DEADLINE)
        assert not thread.is_alive(), "it still waits"
        if errors:
            raise errors[0]
        return answers[0]

    return answer


@pytest.mark.usefixtures("hints_only")
def test_s5_a_cancellation_elsewhere_wakes_who_waits(app, gate, url, redis_url):
    handle = gate.work.options(delay=3600).enqueue(1)
    answer = in_thread(lambda: handle.result(DEADLINE))
    assert gate.told.wait(DEADLINE)
    with opened(url, redis_url) as another:
        assert another.handle(handle.task_id).cancel()
    with pytest.raises(TaskCanceled):
        answer()


def test_s5_a_lost_hint_costs_the_time_until_the_next_look(app, gate, monkeypatch):
    monkeypatch.setattr(waiting, "LONGEST", 0.05)
    monkeypatch.setattr(app.service.waiter, "_hinted", lambda *_: None)  # it never arrives
    handle = gate.work.enqueue(5)
    answer = in_thread(lambda: handle.result(DEADLINE))
    assert gate.told.wait(DEADLINE)
    gate.opened.set()
    assert answer() == 5


def test_s5_nobody_waits_so_a_drain_publishes_nothing_about_ends(app, gate):
    gate.opened.set()
    ended: list[str] = []
    all_ended = threading.Event()

    def count(name: str, _fields: object) -> None:
        ended.append(name)
        if len(ended) == 100:
            all_ended.set()

    stop_listening = events.subscribe("task.finished", count)
    handles = gate.work.enqueue_many([(n,) for n in range(100)])
    assert all_ended.wait(DEADLINE)
    stop_listening()
    assert {app.service.keys.ended, app.service.keys.waiting}.isdisjoint(gate.sent)
    assert {handle.result(0) for handle in handles} == set(range(100))
    assert not app.service.waiter.active, "they had all ended: looking is enough"
    assert app.service.keys.waiting not in gate.sent


def test_s5_the_thread_ends_when_nobody_waits_and_begins_again(app, gate, monkeypatch):
    monkeypatch.setattr(waiting, "_LINGER", 0.01)
    waiter = app.service.waiter
    for number in range(2):
        handle = gate.work.enqueue(number)
        answer = in_thread(partial(handle.result, DEADLINE))
        assert gate.told.wait(DEADLINE)
        thread, subscription = waiter._thread, waiter._subscription
        gate.opened.set()
        assert answer() == number
        thread.join(DEADLINE)
        assert not thread.is_alive()
        assert not waiter.active
        assert not subscription.active
        gate.opened.clear()
        gate.told.clear()


@on_both
@pytest.mark.timeout(180)
def test_s5_redis_may_die_during_a_wait(url, own_redis: RedisServer):
    with opened(url, own_redis.url()) as app:
        gate = Gate(app)
        with Scheduler(app.service), TaskRunner("r", app.service, registry=app.registry):
            handles = gate.work.enqueue_many([(n,) for n in range(3)])
            answer = in_thread(lambda: [h.result(0) for h in as_completed(handles, DEADLINE)])
            assert gate.told.wait(DEADLINE)
            own_redis.kill()
            gate.opened.set()
            assert sorted(answer()) == [0, 1, 2]
            own_redis.restart()
            assert gate.work.enqueue(9).result(DEADLINE) == 9


def test_s5_cancelling_an_awaiting_coroutine_ends_the_wait_alone(app, gate):
    handle = gate.work.enqueue(3)

    async def give_up() -> None:
        task = asyncio.create_task(handle.aresult())
        assert await asyncio.to_thread(gate.told.wait, DEADLINE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not app.service.waiter._entries, "nothing is asked for it any more"

    asyncio.run(give_up())
    assert not handle.status().is_final
    gate.opened.set()
    assert asyncio.run(handle.aresult(DEADLINE)) == 3


def test_s5_a_loop_that_was_closed_is_not_told(app, gate):
    handle = gate.work.enqueue(4)

    async def begin() -> None:
        task = asyncio.create_task(handle.aresult())
        await asyncio.to_thread(gate.told.wait, DEADLINE)
        assert not task.done()

    asyncio.run(begin())
    gate.opened.set()
    assert handle.result(DEADLINE) == 4


@on_both
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_s5_a_child_forked_during_a_wait_waits_for_itself(app, gate):
    handle: TaskHandle[int] = gate.work.enqueue(6)
    news = threading.Event()
    watch = app.service.waiter.watch([handle.task_id], news.set)
    assert gate.told.wait(DEADLINE)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - in a process of its own
        said = b"nothing"
        try:
            os.close(reader)
            try:
                watch.take()
            except StorageUnavailable as error:
                said = str(error).encode()
            os.write(writer, said + b"|" + (b"active" if app.service.waiter.active else b"idle"))
            os.write(writer, b"|%d" % handle.result(DEADLINE))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        first = answers.read(1)
        gate.opened.set()
        assert (first + answers.read()).split(b"|") == [
            b"this wait began before a fork: begin it anew",
            b"idle",
            b"6",
        ]
    os.waitpid(child, 0)
    assert handle.result(DEADLINE) == 6
    assert news.wait(DEADLINE)
    assert watch.take() == [handle.task_id], "the parent's own wait went on"
