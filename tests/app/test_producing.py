"""Creating tasks: options of a task and of a call, many at once, from an event loop (M24)."""

from __future__ import annotations

import asyncio
import functools
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import get_type_hints

import pytest

from mqtasks import InvalidArgument, MQTasks, TaskOptions, UnknownExecutor, label
from mqtasks.app.options import CALL_ONLY, SHORT_NAMES, CallFields, OptionFields


@pytest.fixture
def app():
    with MQTasks("memory://") as app:
        yield app


@pytest.fixture
def resize(app: MQTasks):
    @app.task(priority=2, timeout=timedelta(minutes=1))
    def resize(path: str, width: int = 100) -> int:
        return len(path) * width

    return resize


def options_of(handle):
    return handle.fetch().metadata.options


def test_no_field_of_the_options_is_forgotten() -> None:
    fields = set(TaskOptions.__struct_fields__) - {"deadline_at"}  # `deadline` sets it

    assert OptionFields.__optional_keys__ == fields | set(SHORT_NAMES)
    assert CallFields.__optional_keys__ == OptionFields.__optional_keys__ | CALL_ONLY


def test_a_call_changes_some_options_of_its_task_and_keeps_the_others(resize) -> None:
    handle = resize.options(key="customer 7", tags=("a",), labels={"zone": label.in_("b")}).enqueue(
        "cat.jpg"
    )

    options = options_of(handle)
    assert (options.priority, options.timeout) == (2, 60.0)
    assert (options.concurrency_key, options.tags) == ("customer 7", ("a",))
    assert options.labels == {"zone": label.in_("b")}
    assert options_of(resize.enqueue("cat.jpg")).concurrency_key == ""


@pytest.mark.parametrize("field", ["timeout", "retry_interval", "backoff_max", "retention"])
def test_durations_are_seconds_or_timedeltas(resize, field) -> None:
    by_number = resize.options(**{field: 90}).options
    by_delta = resize.options(**{field: timedelta(minutes=1.5)}).options

    assert getattr(by_number, field) == getattr(by_delta, field) == 90


def test_a_delay_and_a_time_say_when_a_task_is_due(app, resize) -> None:
    now = app.service.storage.now_ms()
    at = datetime(2100, 1, 1, tzinfo=UTC)
    late = resize.options(delay=timedelta(hours=1)).enqueue("a").fetch()
    later = resize.options(at=at).enqueue("a").fetch()

    assert now + 3_600_000 <= late.run_at < now + 3_700_000
    assert later.run_at == int(at.timestamp() * 1000)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"prio": 1}, "options"),
        ({"key": "a", "concurrency_key": "b"}, "key"),
        ({"delay_duration": 1, "delay": 1}, "delay"),
        ({"delay": -1}, "options.delay_duration"),
        ({"delay": 1, "at": datetime(2100, 1, 1, tzinfo=UTC)}, "at"),
        ({"at": datetime(2100, 1, 1)}, "at"),  # noqa: DTZ001 - that is what is refused
        ({"priority": "high"}, "options.priority"),
        ({"id": ""}, "id"),
    ],
)
def test_a_wrong_option_is_named(resize, wrong, field) -> None:
    with pytest.raises(InvalidArgument) as error:
        resize.options(**wrong)

    assert error.value.field == field


def test_a_task_is_not_declared_with_what_only_a_call_can_have(app) -> None:
    for name in ("id", "at", "after", "on_failure", "parent", "connection"):
        with pytest.raises(InvalidArgument, match=rf"{name}='same': is said for a call") as error:
            app.task(**{name: "same"})
        assert error.value.field == name


def test_an_unknown_option_is_answered_with_all_that_there_are(app, resize) -> None:
    known = get_type_hints(CallFields).keys() - {"deadline"}
    for wrong in (app.task, resize.options):
        with pytest.raises(InvalidArgument, match="'on_fail': is no option") as error:
            wrong(on_fail="run")
        assert known <= set(re.findall(r"\w+", error.value.remedy))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"at": "tomorrow"}, "at='tomorrow': must be an aware datetime"),
        ({"tags": "a,b"}, "options.tags='a,b': must be a tuple or list, of one also: ('a',)"),
        ({"tags": ("a", 1)}, "Expected `str`, got `int`"),
        ({"timeout": "5"}, "options.timeout='5': must be a number"),
        ({"retention": "5"}, "options.retention='5': must be a number or None"),
        ({"rate_limit": 3}, "options.rate_limit=3: must be a str or a mapping or None"),
        ({"labels": "x"}, "options.labels='x': must be a mapping"),
    ],
)
def test_an_option_of_the_wrong_type_says_what_it_takes(resize, wrong, message) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        resize.options(**wrong)


def test_any_number_of_calls_is_created_in_chunks(app, resize) -> None:
    told: list[int] = []
    calls = ((f"{n}.jpg",) if n % 2 else {"path": f"{n}.jpg"} for n in range(25))

    handles = resize.options(priority=7).enqueue_many(calls, chunk=10, progress=told.append)

    assert told == [10, 20, 25]
    assert len({handle.task_id for handle in handles}) == 25
    assert {options_of(handle).priority for handle in handles} == {7}
    decoded = [
        resize.definition.codec.decode_call(handle.fetch().metadata.context) for handle in handles
    ]
    assert decoded[:2] == [((), {"path": "0.jpg"}), (("1.jpg",), {})]


@pytest.mark.parametrize("call", ["text", b"bytes", 7])
def test_a_call_that_is_no_call_is_refused(app, resize, call) -> None:
    with pytest.raises(InvalidArgument, match="calls="):
        resize.enqueue_many([call])

    assert app.service.query_task() == []


def test_an_event_loop_goes_on_while_a_task_is_created(app, resize) -> None:
    go_on = threading.Event()
    create = app.service.create_tasks

    def held(tasks):
        assert go_on.wait(60)
        return create(tasks)

    app.service.create_tasks = held

    async def produce():
        waiting = asyncio.create_task(resize.aenqueue("cat.jpg", width=3))
        many = asyncio.create_task(resize.options(priority=9).aenqueue_many([("a",), ("b",)]))
        asyncio.get_running_loop().call_soon(go_on.set)
        return await waiting, await many

    one, many = asyncio.run(produce())

    assert one.is_new
    assert [options_of(handle).priority for handle in many] == [9, 9]


def test_a_connection_is_not_taken_into_another_thread(resize) -> None:
    call = resize.options(connection=object())

    for made in (call.aenqueue("a"), call.aenqueue_many([("a",)])):
        with pytest.raises(InvalidArgument, match="stays in its own thread"):
            asyncio.run(made)


def test_a_producer_without_the_function_enqueues_by_name(app, resize) -> None:
    shop = MQTasks("memory://")
    remote = shop.remote("resize", format="msgpack", priority=4)
    with shop:
        task = remote.options(tenant="acme").enqueue("cat.jpg", width=3).fetch()

    assert task.metadata.executor == resize.code
    assert (task.metadata.options.priority, task.metadata.options.tenant) == (4, "acme")
    known = resize.definition
    read = known.codec.decode_call(task.metadata.context, known.signature)
    assert read == (("cat.jpg",), {"width": 3})
    assert len(shop.registry) == 0
    with pytest.raises(UnknownExecutor):
        remote("cat.jpg")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("resize", r"write it as @app\.task\(name='resize'\)"),
        (functools.partial(print, 1), "must be a function"),
        (7, "must be a function"),
    ],
)
def test_what_is_no_function_is_refused_with_the_remedy(function, said):
    with MQTasks("memory://") as app, pytest.raises(InvalidArgument, match=said):
        app.task(function)
