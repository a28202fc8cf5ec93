"""The ``mqtasks`` command: one file per command, none of which holds logic of its own.

Modules here import nothing heavy at their top: a command imports what it needs when it runs.
"""
