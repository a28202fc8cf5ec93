"""What a middleware sees, and may change, of tasks that are about to be created."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from mqtasks.errors import MQTasksError
from mqtasks.middleware.base import Middleware
from mqtasks.middleware.chain import compose
from mqtasks.model import Created, NewTask, TaskOptions
from mqtasks.payload import CallSignature, PayloadCodec

_log = logging.getLogger("mqtasks.middleware")
_SHOWN: Final = 5


class EnqueueTask:
    """One task before it is created. What is changed here is what gets created."""

    __slots__ = ("_codec", "_signature", "new")

    def __init__(
        self, new: NewTask, codec: PayloadCodec, signature: CallSignature | None = None
    ) -> None:
        """Wrap ``new``, whose payload ``codec`` reads and writes."""
        self.new = new
        """The record as it will be created; replace it to change what has no method here."""
        self._codec = codec
        self._signature = signature

    @property
    def id(self) -> str:
        """Its metadata id: the producer's name, or the one made for it."""
        return self.new.metadata.id

    @property
    def executor(self) -> int | str:
        """Its executor code."""
        return self.new.metadata.executor

    @property
    def options(self) -> TaskOptions:
        """Its options, with the call's own already in them."""
        return self.new.metadata.options

    @property
    def arguments(self) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Positional and keyword arguments, decoded at each look.

        Raises PayloadError for the payload of an executor in the reference's form.
        """
        return self._codec.decode_call(self.new.metadata.context, self._signature)

    def set_arguments(self, *args: Any, **kwargs: Any) -> None:
        """Replace the arguments. Raises PayloadError if the executor cannot take them."""
        context = self._codec.encode_call(args, kwargs, self._signature)
        self._change(context=context)

    def set_options(self, **changes: Any) -> None:
        """Change fields of `TaskOptions`; they are checked when the task is created."""
        self._change(options=replace(self.options, **changes))

    def set_header(self, name: str, value: str) -> None:
        """Let ``value`` travel with the task: ``task.metadata.options.headers`` where it runs."""
        self.set_options(headers={**self.options.headers, name: value})

    def _change(self, **changes: Any) -> None:
        self.new = replace(self.new, metadata=replace(self.new.metadata, **changes))


class EnqueueContext:
    """One creation: all tasks that one transaction will create."""

    __slots__ = ("created", "in_transaction", "tasks")

    def __init__(self, tasks: Sequence[EnqueueTask], *, in_transaction: bool) -> None:
        """Describe a creation that has not happened yet."""
        self.tasks: Final = tuple(tasks)
        """One for `enqueue`, a chunk for `enqueue_many`."""
        self.in_transaction: Final = in_transaction
        """Whether a transaction of the caller's decides if they will have been created."""
        self.created: Sequence[Created] | None = None
        """Number of each task and whether it was new; None until ``call_next`` has returned."""


def enqueue_through(
    middlewares: Sequence[Middleware],
    context: EnqueueContext,
    write: Callable[[Sequence[NewTask]], Sequence[Created]],
) -> Sequence[Created]:
    """Create the tasks of ``context`` by ``write``, inside ``middlewares``.

    What is written once is not written again, however often ``call_next`` is called. Raises what a
    middleware or ``write`` raises before that, and MQTasksError if nothing was written nor raised.
    An Exception after a commit is logged: the tasks exist, and whoever got the error instead of
    them would create them again.
    """

    def innermost(_: EnqueueContext) -> Sequence[Created]:
        if context.created is None:
            context.created = write([task.new for task in context.tasks])
        return context.created

    try:
        compose([layer.enqueue for layer in middlewares], innermost)(context)
    except Exception:
        if context.created is None or context.in_transaction:
            raise
        ids = ", ".join(str(made.task_id) for made in context.created[:_SHOWN])
        _log.exception(
            "a middleware failed after %d tasks were created (%s)", len(context.tasks), ids
        )
    if context.created is None:
        names = ", ".join(type(layer).__qualname__ for layer in middlewares)
        raise MQTasksError(
            f"nothing was enqueued: a middleware ({names}) has neither called call_next nor raised"
        )
    return context.created
