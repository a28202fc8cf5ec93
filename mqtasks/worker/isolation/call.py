"""What stands for the executor of an isolated task in the runner's own process."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from mqtasks.errors import ConfigError, MQTasksError
from mqtasks.registry import TaskDefinition


class IsolatedCall:
    """An executor that a child process finds by name, imports and calls.

    Raises ConfigError for an executor of the reference's form: its context is not all there.
    """

    def __init__(self, definition: TaskDefinition) -> None:
        if definition.convention == "raw":
            raise ConfigError(
                f"executor {definition.executor!r}: isolation='process' needs a function that"
                " takes the arguments of its tasks, not (context, task): register it by @app.task"
            )
        self.executor: Final = definition.executor
        self.module: Final = str(getattr(definition.function, "__module__", ""))
        self.name: Final = str(getattr(definition.function, "__qualname__", ""))
        self.memory_limit: Final = definition.memory_limit

    def __call__(self, _context: Any, _task: Any) -> NoReturn:
        """Refuse: nothing of it may run here."""
        raise MQTasksError(f"executor {self.executor!r} runs in a child process only")

    def check_importable(self) -> None:
        """Raise ConfigError unless another process can import the function by its name."""
        if self.module == "__main__" or not self.module:
            raise ConfigError(
                f"executor {self.executor!r}: isolation='process' imports its module in another"
                " process, which cannot import the program itself: move it into a module"
            )
        if "<locals>" in self.name:
            raise ConfigError(
                f"executor {self.executor!r}: isolation='process' finds the function by name in"
                f" {self.module}, where {self.name} cannot be reached: move it to the top level,"
                " or start it by `mqtasks worker MODULE:APP`"
            )
