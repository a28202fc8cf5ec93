"""A shop on Flask that ships orders by tasks.

Serve it with ``flask --app shop:create run``, run its tasks with
``flask --app shop:create mqtasks worker --with-scheduler``.
"""

import flask

from mqtasks import MQTasks
from mqtasks.integrations.flask import MQTasksFlask, get_app

tasks = MQTasks()
extension = MQTasksFlask(tasks)
shipped: list[int] = []


@tasks.task
def ship(order: int) -> str:
    # A task runs in the application context of the Flask app, as a request does.
    shipped.append(order)
    return f"order {order} is on its way from {flask.current_app.config['WAREHOUSE']}"


def create(url: str | None = None) -> flask.Flask:
    app = flask.Flask("shop")
    app.config["MQTASKS_URL"] = url  # None: what the environment says
    app.config["WAREHOUSE"] = "Berlin"
    extension.init_app(app)

    @app.post("/orders/<int:order>")
    def place(order: int) -> tuple[dict[str, str], int]:
        return {"task": ship.options(id=f"ship-{order}").enqueue(order).id}, 202

    @app.get("/backlog")
    def backlog() -> dict[str, int]:
        return {"tasks": len(get_app().service.query_task())}

    return app
