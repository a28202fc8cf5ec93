import os
from pathlib import Path

SECRET_KEY = "of an example"
DEBUG = True
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "shop.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = ["shop", "mqtasks.integrations.django"]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SHOP_DATABASE", Path(__file__).parents[1] / "shop.db"),
        # Writers take turns from the start of a transaction on, instead of failing in the middle.
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    }
}

# The tasks live in DATABASES["default"], too: nothing needs to be said.
MQTASKS = {"HEARTBEAT_INTERVAL": 3, "MIDDLEWARE": ["shop.middleware.Trace"]}

# Django's own tasks (django.tasks, or django_tasks before Django 6) run on mqtasks as well.
TASKS = {
    "default": {
        "BACKEND": "mqtasks.integrations.django.backend.MQTasksBackend",
        "QUEUES": ["default", "letters"],
        "OPTIONS": {"max_retry_times": 1, "retry_interval": 0},
    }
}
