"""Executors by code."""

from __future__ import annotations

import threading

import pytest

from mqtasks.errors import ConfigError, InvalidArgument, PayloadError, UnknownExecutor
from mqtasks.model import TaskOptions
from mqtasks.registry import TaskDefinition, TaskRegistry


def executor(context, task):
    return None


def add(a: int, b: int = 1) -> int:
    return a + b


async def fetch(url: str) -> str:
    return url


def test_raw_executor_is_called_with_context_and_task():
    definition = TaskDefinition.raw(7, executor, TaskOptions(timeout=3.0))
    assert (definition.code, definition.executor) == ("0000000007", 7)
    assert (definition.convention, definition.signature) == ("raw", None)
    assert definition.isolation == "thread"
    assert definition.options.timeout == 3.0


def test_plain_function_is_called_with_its_arguments():
    definition = TaskDefinition.call("add", add)
    assert (definition.code, definition.executor, definition.convention) == ("add", "add", "call")
    assert definition.signature
    definition.signature.check((1,), {"b": 2})
    with pytest.raises(PayloadError):
        definition.signature.check((), {})


def test_coroutine_function_runs_on_the_event_loop():
    assert TaskDefinition.call("fetch", fetch).isolation == "async"

    async def coroutine(context, task): ...

    assert TaskDefinition.raw("fetch", coroutine).isolation == "async"


def test_p16_first_registration_is_kept():
    registry = TaskRegistry()
    first, second = TaskDefinition.raw(1, executor), TaskDefinition.raw(1, executor)
    assert registry.register(first) is True
    assert registry.register(second) is False
    assert registry.get(1) is first
    assert len(registry) == 1


def test_code_is_found_in_each_of_its_forms():
    registry = TaskRegistry()
    number, name = TaskDefinition.raw(7, executor), TaskDefinition.call("add", add)
    registry.register(name)
    registry.register(number)
    assert registry.get(7) is registry.get("0000000007") is registry.require(7) is number
    assert registry.get("add") is registry.require("add") is name
    assert registry.get(8) is None
    assert registry.get("7") is None
    assert 7 in registry
    assert "sub" not in registry
    assert registry.codes() == ("0000000007", "add")
    assert list(registry) == [number, name]


def test_unknown_code_is_named_with_the_known_ones():
    registry = TaskRegistry()
    registry.register(TaskDefinition.raw(7, executor))
    registry.register(TaskDefinition.call("add", add))
    with pytest.raises(UnknownExecutor, match=r"'sub' is not registered \(registered: 7, add\)"):
        registry.require("sub")


@pytest.mark.parametrize("code", [-1, 2**32, "", "123", "x" * 256, True, "a\nb", "\x85"])
def test_bad_code_is_refused(code):
    with pytest.raises(InvalidArgument, match="executor="):
        TaskDefinition.raw(code, executor)


def test_bad_option_is_refused():
    with pytest.raises(InvalidArgument, match=r"options\.jitter"):
        TaskDefinition.call("add", add, TaskOptions(jitter=2.0))


def test_what_cannot_be_called_is_refused():
    with pytest.raises(ConfigError, match="cannot be called"):
        TaskDefinition.raw(1, None)  # type: ignore[arg-type]


def test_raw_executor_must_take_context_and_task():
    with pytest.raises(ConfigError, match=r"must take \(context, task\): missing"):
        TaskDefinition.raw(1, lambda a, b, c: None)  # type: ignore[arg-type, misc]


def test_generators_are_refused():
    def plain():
        yield 1

    async def coroutine():
        yield 1

    for function in (plain, coroutine):
        with pytest.raises(ConfigError, match="body would never run"):
            TaskDefinition.call("task", function)


def test_one_of_many_concurrent_registrations_wins():
    registry, together = TaskRegistry(), threading.Barrier(8)
    won: list[TaskDefinition] = []

    def register() -> None:
        definitions = [TaskDefinition.raw(code, executor) for code in range(50)]
        together.wait(10)
        won.extend(definition for definition in definitions if registry.register(definition))

    threads = [threading.Thread(target=register) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(won) == 50
    assert sorted(map(id, won)) == sorted(map(id, registry))
