"""The chain of middlewares around a call."""

from __future__ import annotations

import asyncio

import pytest

from mqtasks.errors import ConfigError
from mqtasks.middleware import compose


def test_without_middleware_the_call_itself_is_returned():
    def call(context):
        return context

    assert compose([], call) is call


def test_first_middleware_is_outermost():
    seen = []

    def layer(name):
        def run(call_next, context):
            seen.append(f"{name} in")
            result = call_next(context + name)
            seen.append(f"{name} out")
            return result + name

        return run

    chain = compose([layer("a"), layer("b")], lambda context: f"[{context}]")
    assert chain("x") == "[xab]ba"
    assert seen == ["a in", "b in", "b out", "a out"]


def test_middleware_may_answer_without_calling_on():
    chain = compose([lambda call_next, context: "cached"], lambda context: 1 / 0)
    assert chain("x") == "cached"


def test_chain_can_be_called_often():
    chain = compose([lambda call_next, context: call_next(context) + 1], lambda context: context)
    assert [chain(n) for n in range(3)] == [1, 2, 3]


def test_error_of_the_call_passes_through_and_can_be_seen():
    seen = []

    def layer(call_next, context):
        try:
            return call_next(context)
        except ZeroDivisionError as error:
            seen.append(error)
            raise

    with pytest.raises(ZeroDivisionError) as caught:
        compose([layer], lambda context: 1 / context)(0)
    assert seen == [caught.value]


def test_error_of_a_middleware_passes_through():
    def layer(call_next, context):
        call_next(context)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        compose([layer], lambda context: None)(0)


def test_async_chain_mixes_coroutine_and_plain_middlewares():
    async def outer(call_next, context):
        return ["outer", *await call_next(context)]

    def plain(call_next, context):
        return call_next(context + 1)

    async def call(context):
        await asyncio.sleep(0)
        return [context]

    assert asyncio.run(compose([outer, plain], call)(1)) == ["outer", 2]


def test_error_passes_through_an_async_chain():
    async def layer(call_next, context):
        return await call_next(context)

    async def call(context):
        raise LookupError(context)

    with pytest.raises(LookupError, match="x"):
        asyncio.run(compose([layer, layer], call)("x"))


def test_async_middleware_around_a_plain_call_is_refused():
    async def tracing(call_next, context):
        return await call_next(context)

    with pytest.raises(ConfigError, match=r"tracing is async.*async def"):
        compose([tracing], lambda context: context)
