"""``mqtasks worker mqtasks.integrations.django.worker:app``: Django, set up, and its application.

DJANGO_SETTINGS_MODULE names the settings; ``manage.py mqtasks worker`` sees to that.
"""

import django

django.setup()

from mqtasks.integrations.django.application import app  # noqa: E402 - after the setup

__all__ = ["app"]
