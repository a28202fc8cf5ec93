"""Executors in processes of their own: ``isolation="process"``.

A runner keeps spawned children warm and gives each one task at a time. Whatever a task does to its
process, it does to that child alone: the runner sees its end, says what it knows of the cause, and
starts another child when one is needed. A task that shall give up and does not is ended by force.
"""
