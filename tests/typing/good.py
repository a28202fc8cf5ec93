"""Calls that mypy --strict and pyright accept."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from mqtasks import (
    CallNext,
    EnqueueContext,
    ExecutionContext,
    Failure,
    Middleware,
    MQTasks,
    Plan,
    RateLimit,
    RetryPolicy,
    TaskContext,
    TaskHandle,
    TaskRunner,
    around,
    chain,
    group,
    label,
    on_error,
)

app = MQTasks("memory://")


@app.task
def resize(path: str, width: int = 100) -> int:
    return len(path) * width


@app.task(name="mail", key="smtp", timeout=timedelta(minutes=1), tags=("mail",))
async def mail(address: str, *, copies: int = 1) -> str:
    return address * copies


def later(attempt: int, error: Exception) -> float | timedelta | None:
    return attempt if isinstance(error, OSError) else None


@app.task(max_retry_times=3, retry_on=OSError, retry_delay=later)
def fetch(url: str) -> bytes:
    return url.encode()


@app.task(max_retry_times=3, give_up_on=(KeyError, ValueError), retry_delay=timedelta(seconds=5))
async def afetch(url: str) -> bytes:
    return url.encode()


@app.task(unique_for=timedelta(hours=1), unique_key="report")
def hourly(page: str) -> None: ...


def register(runner: TaskRunner) -> None:
    policy = RetryPolicy.of(
        retry_on=(OSError, KeyError), delay=lambda attempt, _error: 2.0**attempt
    )
    runner.register_executor("fetch", lambda ctx, task: ctx.epoch, retry=policy)


async def produce() -> None:
    assert_type(resize.enqueue("cat.jpg"), TaskHandle[int])
    assert_type(resize.enqueue("cat.jpg", width=320).result(1.0), int)
    assert_type(await resize.aenqueue("cat.jpg", 320), TaskHandle[int])
    assert_type(mail.enqueue("a@b.c", copies=2).result(), str)
    assert_type(resize.enqueue_many([("a", 1), {"path": "b"}], chunk=10), list[TaskHandle[int]])
    assert_type(await mail.aenqueue_many([("a@b.c",)]), list[TaskHandle[str]])
    assert_type(hourly.enqueue("news"), TaskHandle[None])
    assert_type(hourly.options(unique_for=None, unique_key=None).enqueue("a").is_new, bool)
    assert_type(resize.options(unique_for=60, unique_key="cats").enqueue("a").result(), int)
    urgent = resize.options(
        id="cat",
        delay=timedelta(seconds=5),
        priority=3,
        key_concurrency=2,
        key="customer 7",
        labels={"zone": label.in_("a", "b")},
        resources={"gpu": 1},
        retention=None,
        rate_limit=RateLimit(10),
    )
    assert_type(urgent.enqueue("cat.jpg"), TaskHandle[int])
    assert_type(mail.options(at=datetime(2030, 1, 1, tzinfo=UTC)).enqueue("a@b.c").result(), str)


async def compose() -> None:
    first = resize.enqueue("cat.jpg")
    after = mail.options(after=[first, "other-id"], on_failure="run")
    assert_type(after.enqueue("a@b.c"), TaskHandle[str])
    mail.options(after=resize.enqueue_many([("a",)])).enqueue("a@b.c")
    mail.options(after=(first, "other-id")).enqueue("a@b.c")
    one: Plan[TaskHandle[int]] = resize.options(priority=1).s("cat.jpg", width=3)
    assert_type(one.enqueue(id="cat"), TaskHandle[int])
    assert_type(one.then(mail.s("a@b.c")).enqueue(), TaskHandle[str])
    assert_type(chain(one, mail.s("a"), resize.s("b")).enqueue().result(), int)
    assert_type(chain(*[resize.s("a"), resize.s("b")]).enqueue(), TaskHandle[int])
    sizes = group([resize.s(f"{n}.jpg") for n in range(9)])
    assert_type(sizes.enqueue(), list[TaskHandle[int]])
    assert_type(await chain(one, sizes, after.s("a@b.c")).aenqueue(), TaskHandle[str])
    assert_type(group([chain(one, mail.s("a"))]).enqueue(), list[TaskHandle[str]])


class Named(Middleware):
    def enqueue(self, call_next: CallNext[EnqueueContext], context: EnqueueContext) -> Any:
        for task in context.tasks:
            task.set_header("name", task.id)
        return call_next(context)

    def execute(self, call_next: CallNext[ExecutionContext], context: ExecutionContext) -> Any:
        assert_type(context.task.metadata.options.headers, Mapping[str, str])
        return call_next(context)

    async def aexecute(
        self, call_next: CallNext[ExecutionContext], context: ExecutionContext
    ) -> Any:
        return await call_next(context)


@contextmanager
def timed(context: ExecutionContext) -> Generator[None, None, None]:
    assert_type(context.attempt, int)
    yield


def report(failure: Failure) -> None:
    assert_type(failure.will_retry, bool)


def whole(context: TaskContext) -> ExecutionContext:
    return context


app.use(Named(), around(timed), on_error(report))
