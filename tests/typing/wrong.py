"""Calls that mypy --strict and pyright reject, each on the line that says so."""

from __future__ import annotations

from mqtasks import Middleware, MQTasks, TaskHandle, chain, group, on_error

app = MQTasks("memory://")


@app.task
def resize(path: str, width: int = 100) -> int:
    return len(path) * width


@app.task(name="mail", timeout=60)
async def mail(address: str, *, copies: int = 1) -> str:
    return address * copies


def never(attempt: int) -> float:
    return float(attempt)


resize.enqueue()  # wrong: an argument is missing
resize.enqueue(7)  # wrong: a number for text
resize.enqueue("cat.jpg", "wide")  # wrong: text for a number
resize.enqueue("cat.jpg", 1, 2)  # wrong: too many arguments
resize.enqueue("cat.jpg", height=3)  # wrong: no such parameter
resize.enqueue("cat.jpg", width=None)  # wrong: None for a number
mail.enqueue("a@b.c", 2)  # wrong: only by name
mail.options(priority=1).enqueue(b"a@b.c")  # wrong: options keep the signature
resize.options(prio=1)  # wrong: no such option
resize.options(priority="high")  # wrong: text for a number
resize.options(delay="5s")  # wrong: text for a duration
resize.options(at="tomorrow")  # wrong: text for a datetime
resize.options(labels=["a"])  # wrong: a list for a mapping
resize.options(id=7)  # wrong: a number for a name
resize.enqueue_many([1, 2, 3])  # wrong: each call is a sequence or a mapping
text: str = resize.enqueue("cat.jpg").result()  # wrong: the result is an int
handle: TaskHandle[int] = mail.enqueue("a@b.c")  # wrong: a handle of another result
app.task(format="yaml")  # wrong: no such format
app.task(timeout="1m")  # wrong: text for a duration
app.task(isolation="thread")  # wrong: processes only; the others follow from the function
app.task(isolation="process", memory_limit="1GiB")  # wrong: text for bytes
app.task(id="same")  # wrong: an id is of one call
app.task(max_retry_times=1, retry_on="OSError")  # wrong: a name for an exception class
app.task(max_retry_times=1, retry_on=[OSError])  # wrong: a list for a tuple
app.task(max_retry_times=1, give_up_on=(OSError, 7))  # wrong: a number among classes
app.task(max_retry_times=1, retry_delay="5s")  # wrong: text for a duration
app.task(max_retry_times=1, retry_delay=never)  # wrong: takes no exception
resize.options(retry_on=OSError)  # wrong: a policy is of a task, not of a call
resize.options(unique_for="1h")  # wrong: text for a duration
resize.options(unique_for=60, unique_key=7)  # wrong: a number for text
resize.options(unique=True)  # wrong: no such option
app.task(unique_for=["a"])  # wrong: a list for a duration

resize.s(7)  # wrong: a number for text
mail.options(priority=1).s("a@b.c", 2)  # wrong: only by name
app.use(Middleware)  # wrong: the class instead of one of them
app.use(lambda call_next, context: call_next(context))  # wrong: a function
app.use(on_error(never))  # wrong: takes a failure, not a number
resize.options(after=resize)  # wrong: a task for a list of handles
resize.options(after=[7])  # wrong: a number for a handle
resize.options(on_failure="ignore")  # wrong: no such policy
chain()  # wrong: nothing to do
chain(resize.s("cat.jpg"), mail)  # wrong: a task, its arguments are missing
resize.s("cat.jpg").then(mail.enqueue("a@b.c"))  # wrong: a handle for a plan
group([resize])  # wrong: a task, its arguments are missing
many: TaskHandle[int] = group([resize.s("a")]).enqueue()  # wrong: a list of handles
word: str = resize.s("a").then(resize.s("b")).enqueue().result()  # wrong: the result is an int


async def forgets() -> None:
    resize.aenqueue("cat.jpg").result()  # wrong: not awaited
    await mail.aenqueue(1)  # wrong: a number for text
