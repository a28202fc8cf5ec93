"""What happens when Django starts, and when it migrates."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules, import_string

from mqtasks.integrations.django.application import app, given
from mqtasks.integrations.django.databases import in_memory


class MQTasksConfig(AppConfig):  # type: ignore[misc]
    """The Django app: finds tasks, and keeps the schema up to date."""

    name = "mqtasks.integrations.django"
    label = "mqtasks"
    verbose_name = "mqtasks"

    def ready(self) -> None:
        """Use the middlewares that ``MQTASKS`` names; import the ``tasks`` module of each app."""
        app.use(*(import_string(path)() for path in given().get("MIDDLEWARE", ())))
        post_migrate.connect(migrate_tasks, sender=self, dispatch_uid="mqtasks")
        autodiscover_modules("tasks")


def migrate_tasks(using: str, verbosity: int = 1, **_kwargs: Any) -> None:
    """Create or update the tables of mqtasks, if they are in the database just migrated."""
    name = str(connections[using].settings_dict["NAME"])
    if connections[using].vendor == "sqlite" and in_memory(name):
        return
    app.reload()  # a test's database has taken the place of the one known
    if app.database != using:
        return
    from mqtasks.runtime import Runtime
    from mqtasks.storage import migrate

    with Runtime.open(app.settings, check_schema=False) as runtime:
        applied = migrate.up(runtime.storage)
    if verbosity and applied:
        print(f"  mqtasks: {len(applied)} migrations applied")  # noqa: T201 - as Django's own
