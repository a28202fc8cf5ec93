"""Refusing, with the command to use instead, whatever would change something."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import click

from mqtasks.errors import MQTasksError

_Class = TypeVar("_Class", bound=type)


class ViewError(MQTasksError, click.ClickException):
    """The view cannot show anything: the message says why.

    Being a ClickException too, it ends an rq command with one line and exit code 1.
    """


class ReadOnlyView(ViewError):
    """Something would have changed, or named an rq job; the message names the mqtasks command."""


def read_only(remedies: Mapping[str, str]) -> Callable[[_Class], _Class]:
    """Replace what a class inherits under these names by refusals: name -> what to use instead.

    Methods, class methods and properties all raise ReadOnlyView. Names that the installed rq does
    not know are skipped.
    """

    def replace(cls: _Class) -> _Class:
        for name, remedy in remedies.items():
            inherited = inspect.getattr_static(cls, name, None)
            if inherited is not None:
                setattr(cls, name, _refusal(f"{cls.__name__}.{name}", remedy, inherited))
        return cls

    return replace


def _refusal(name: str, remedy: str, inherited: object) -> object:
    def refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
        raise ReadOnlyView(f"{name}: this only shows mqtasks to rq's monitors; use {remedy}")

    refuse.__doc__ = f"Raise ReadOnlyView: use {remedy}."
    if isinstance(inherited, property):
        return property(refuse)
    return classmethod(refuse) if isinstance(inherited, classmethod) else refuse
