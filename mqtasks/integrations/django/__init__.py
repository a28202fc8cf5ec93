"""Django: tasks that follow its settings, databases and transactions.

Put ``"mqtasks.integrations.django"`` into INSTALLED_APPS and register tasks with `app` in the
``tasks`` module of any Django app.
"""

from mqtasks.integrations.django.application import DjangoTasks, app
from mqtasks.integrations.django.connections import FreshConnections, fresh_connections
from mqtasks.integrations.django.transactions import enqueue

__all__ = ["DjangoTasks", "FreshConnections", "app", "enqueue", "fresh_connections"]
