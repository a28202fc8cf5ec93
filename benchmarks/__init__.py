"""Measurements: ``python -m benchmarks --help``, or ``scripts/bench``. Never part of the tests."""
