"""A shop on FastAPI that ships orders by tasks.

Serve it with ``uvicorn shop:api``, run its tasks with ``mqtasks dev shop:tasks``.
"""

from typing import Annotated

from fastapi import Depends, FastAPI

from mqtasks import MQTasks
from mqtasks.integrations.starlette import get_app, lifespan

tasks = MQTasks()
shipped: list[int] = []


@tasks.task
def ship(order: int) -> str:
    shipped.append(order)
    return f"order {order} is on its way"


api = FastAPI(lifespan=lifespan(tasks))


@api.post("/orders/{order}", status_code=202)
async def place(order: int) -> dict[str, str]:
    # Creating a task waits for the database: `aenqueue` does so outside of the event loop.
    handle = await ship.options(id=f"ship-{order}").aenqueue(order)
    return {"task": handle.id}


@api.get("/backlog")
def backlog(app: Annotated[MQTasks, Depends(get_app)]) -> dict[str, int]:
    return {"tasks": len(app.service.query_task())}
