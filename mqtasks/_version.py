"""The version of this package, and nothing else, so that a build can read it without imports."""

__version__ = "0.1.0"
