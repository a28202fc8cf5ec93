"""Connections that belong to the caller, whatever library they come from.

Only the driver's connection below is used for statements; the library above it opens, commits and
rolls back, and tells when that has happened. SQLAlchemy, Django and MySQLdb are never imported
here: an object of theirs can exist only in a process that has imported them.
"""

from mqtasks.storage.caller.handle import Handle, aborted
from mqtasks.storage.caller.unwrap import unwrap

__all__ = ["Handle", "aborted", "unwrap"]
