"""A shop on Django that ships orders by tasks.

Create its database with ``python manage.py migrate``, serve it with ``runserver``, and run its
tasks with ``python manage.py mqtasks worker --with-scheduler``.
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    execute_from_command_line(sys.argv)
