"""Durable tasks on MySQL, SQLite or memory, with Redis for hints."""

from mqtasks._version import __version__

__all__ = ["__version__"]
