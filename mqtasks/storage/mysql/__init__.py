"""Tasks in MySQL or MariaDB: the shared SQL storage over a pool of PyMySQL connections."""

from mqtasks.storage.mysql.storage import MySQLTaskStorage

__all__ = ["MySQLTaskStorage"]
