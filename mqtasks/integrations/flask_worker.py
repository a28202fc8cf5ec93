"""``mqtasks worker mqtasks.integrations.flask_worker:app``: the Flask app's application.

FLASK_APP names the Flask app, as for Flask's own command; ``flask mqtasks worker`` sees to that.
"""

import os

from flask.cli import ScriptInfo

from mqtasks.integrations.flask import app_of

app = app_of(ScriptInfo(os.environ.get("FLASK_APP")).load_app())

__all__ = ["app"]
